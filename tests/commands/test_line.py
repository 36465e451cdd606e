"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from postroom.commands.line import app
from postroom.commands.reference import reference
from tests.commands.conftest import Postroom

SERVERS = {"demo", "up", "web", "smtp", "worker", "target"}


def commands() -> Iterator[tuple[tuple[str, ...], typer.models.CommandInfo]]:
    """Every command with the words that lead to it."""
    for command in app.registered_commands:
        yield (str(command.name),), command
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            yield (str(group.name), str(command.name)), command


NAMES = [words for words, _ in commands()]


def test_there_is_a_command_for_every_noun() -> None:
    nouns = {words[0] for words in NAMES}
    assert {
        "workspace",
        "user",
        "record",
        "message",
        "queue",
        "inbound",
        "explain",
        "capture",
        "key",
    } <= nouns


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_every_command_has_an_example_in_its_help(postroom: Postroom, words: tuple[str, ...]) -> None:
    helped = postroom(*words, "--help")
    assert helped.exit_code == 0
    assert "Example:" in helped.out
    if words[0] not in SERVERS or len(words) > 1:
        assert "--json" in helped.out


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("queue", "nonsense"), ("queue", "list", "--nonsense"), ("queue", "retry")]
)
def test_wrong_use_exits_2(postroom: Postroom, arguments: tuple[str, ...]) -> None:
    assert postroom(*arguments).exit_code == 2


def test_the_reference_is_what_the_commands_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    again = "python -m postroom.commands.reference docs/reference/cli.md"
    assert page.read_text("utf-8") == reference(), f"Write it with: {again}"


def test_help_imports_neither_django_nor_a_web_server() -> None:
    program = """
import sys
sys.argv = ["postroom", "--help"]
from postroom.commands import main
try:
    main()
except SystemExit:
    pass
print([name for name in ("django", "uvicorn", "ninja", "structlog") if name in sys.modules])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package(postroom: Postroom) -> None:
    from importlib.metadata import version

    assert postroom("--version").out.strip() == version("postroom")
