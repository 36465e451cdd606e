"""`postroom log search`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings

from postroom.diagnostics import mail_log
from postroom.diagnostics.log_lines import DIALECTS, Cover, Own, Person, line
from tests.commands.conftest import Postroom
from tests.commands.test_shapes import fits

AT = datetime(2026, 11, 21, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder() -> Iterator[Path]:
    """The log folder of these tests, with two lines in it; as it was before, afterwards."""
    mail_log.close_log()
    folder = Path(settings.POSTROOM_DATA) / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / "postroom.log"
    before = path.read_bytes() if path.exists() else None
    cover = Cover(mail_log.tag_keys()[0])
    about = (("message", Own("<1@demo.example>")), ("workspace", Own("demo")), ("email", 7))
    path.write_text(
        line(DIALECTS["human"], cover, AT, ("INFO", "posted", *about[:2]))
        + line(DIALECTS["human"], cover, AT, ("INFO", "sent", *about, ("to", Person("ben@example.org"))))
    )
    yield folder
    if before is None:
        path.unlink()
    else:
        path.write_bytes(before)


def test_an_address_is_found_though_the_log_does_not_show_it(postroom: Postroom) -> None:
    ran = postroom("log", "search", "--address", "Ben@example.org")
    assert ran.exit_code == 0
    assert ran.out.count("\n") == 1
    assert "INFO sent" in ran.out
    assert "postroom.log" in ran.err


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--message-id", "1@demo.example"], 2),
        (["--email", "em_7"], 1),
        (["POSTED"], 1),
        (["--workspace", "demo", "--since", "2026-11-21T09:59", "--until", "2026-11-21T10:01"], 2),
        (["--limit", "1"], 1),
    ],
)
def test_lines_are_found_by_what_they_say(postroom: Postroom, arguments: list[str], count: int) -> None:
    assert postroom("log", "search", *arguments).out.count("\n") == count


def test_a_time_beyond_the_calendar_is_a_time(postroom: Postroom) -> None:
    assert postroom("log", "search", "--since", "0001-01-01T00:00+14:00").out
    assert postroom("log", "search", "--until", "0001-01-01T00:00+10:00").exit_code == 1


def test_nothing_found_is_told_and_ends_with_1(postroom: Postroom) -> None:
    ran = postroom("log", "search", "--address", "nobody@example.org")
    assert (ran.exit_code, ran.out) == (1, "")
    assert "No line fits" in ran.err


def test_an_email_that_was_never_tried_is_said_to_have_no_line_yet(postroom: Postroom) -> None:
    ran = postroom("log", "search", "--email", "em_4711")
    assert ran.exit_code == 1
    assert "An email has lines from its first try on. `postroom explain em_4711`" in ran.err


def test_programs_get_an_object_of_a_stable_shape(postroom: Postroom) -> None:
    ran = postroom("log", "search", "--email", "7", "--json")
    assert fits(ran, "log search")
    (found,) = ran.json["data"]
    assert (found["event"], found["at"], found["fields"]["message"]) == (
        "sent",
        "2026-11-21T10:00:00Z",
        "<1@demo.example>",
    )


def test_a_time_that_is_none_is_refused_with_what_would_be_one(postroom: Postroom) -> None:
    ran = postroom("log", "search", "--since", "yesterday")
    assert ran.exit_code == 2
    assert "2d" in ran.err


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, which knows of no Django yet."""
    command = [
        sys.executable,
        "-c",
        "from postroom.commands import main; main()",
        "log",
        "search",
        *arguments,
    ]
    environ = {**os.environ, "POSTROOM_DATA": str(folder), "DATABASE_URL": ""}
    environ.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_the_log_is_read_without_a_database(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text(f"1:{'k' * 64}\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "postroom.log").write_text("2026-11-21 10:00:00.000Z INFO login peer=192.0.2.1\n")
    ran = run(tmp_path, "--since", "2026-11-21")
    assert (ran.returncode, ran.stdout.count("login")) == (0, 1), ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "secret.key"]


def test_a_search_where_nothing_was_ever_started_leaves_no_trace(tmp_path: Path) -> None:
    ran = run(tmp_path / "nothing", "login")
    assert ran.returncode == 1
    assert "no workspace yet" in ran.stderr
    assert not (tmp_path / "nothing").exists()
