"""`postroom log search`."""

from __future__ import annotations

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


def test_nothing_found_is_told_and_ends_with_1(postroom: Postroom) -> None:
    ran = postroom("log", "search", "--address", "nobody@example.org")
    assert (ran.exit_code, ran.out) == (1, "")
    assert "No line fits" in ran.err


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
