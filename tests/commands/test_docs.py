"""The lines that the pages show can be pasted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.commands.conftest import Postroom

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(page for kind in ("howto", "tutorial") for page in (ROOT / "docs" / kind).glob("*.md")),
]
_LINE = re.compile(r"^    (?:.*\$\()?(?P<how>\S* ?\S* ?)postroom (?P<arguments>[a-z].*?)\)?$", re.MULTILINE)


def lines() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        for line in _LINE.finditer(page.read_text("utf-8")):
            found.append((page.name, line["how"], line["arguments"]))
    return found


def test_the_pages_show_commands() -> None:
    assert len(lines()) >= 5


@pytest.mark.parametrize(("page", "how", "arguments"), lines())
def test_every_command_on_a_page_exists_and_is_called_so_that_it_runs(
    postroom: Postroom, page: str, how: str, arguments: str
) -> None:
    assert how.endswith("uv run "), f"{page}: {arguments}"
    words = [word for word in shlex.split(arguments, comments=True) if re.fullmatch("[a-z-]+", word)][:2]
    known = postroom(*words, "--help").exit_code == 0 or postroom(words[0], "--help").exit_code == 0
    assert known, f"{page}: {arguments}"


def test_the_api_is_shown_with_people_and_a_folder_that_the_demo_has() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "howto" / "api.md"):
        text = page.read_text("utf-8")
        assert text.index("export POSTROOM_DATA=postroom-demo") < text.index("key create --name shop")
        assert "--as olga@demo.example" in text
