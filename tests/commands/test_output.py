"""Tables are readable where they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from postroom.commands.output import cell, print_list, print_one
from postroom.outgoing.models import Lane
from tests.commands.conftest import Postroom
from tests.people import Cast

LONG = "a very long subject that goes on and on until nobody remembers how it began, and then some more"


@dataclass(frozen=True, slots=True)
class Row:
    id: str = "em_1"
    subject: str = LONG
    at: datetime = datetime(2026, 11, 21, 6, 7, tzinfo=UTC)
    names: list[str] = field(default_factory=lambda: ["a.example", "b.example"])


def printed(capsys: pytest.CaptureFixture[str], row: Row) -> list[str]:
    print_list([row], ("id", "at", "subject", "names"), as_json=False)
    return capsys.readouterr().out.splitlines()


def test_a_row_is_one_line_of_80_columns_with_the_rest_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(capsys, Row())
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert "…" in lines[2]
    assert lines[2].startswith("em_1  2026-11-21 06:07  a very long")
    assert lines[2].endswith("a.example, b.example")


def test_a_sentence_at_the_end_of_a_row_goes_on_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    print_list([Row()], ("id", "what"), as_json=False, words=lambda row: LONG)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(line[6:] for line in lines[2:]) == LONG


def test_what_is_piped_is_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert LONG in printed(capsys, Row())[2]


def test_what_a_stranger_wrote_does_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Row(subject="one\x1b[2Jtwo\nthree"))
    assert len(lines) == 3
    assert "one [2Jtwo three" in lines[2]


@pytest.mark.django_db
def test_a_held_mail_says_because_of_what_and_until_when(postroom: Postroom, people: Cast) -> None:
    post = ("message", "post", "--record", "sale.order/SO042", "--as", "ana@demo.example", "--body", "Hello")
    assert postroom(*post).exit_code == 0
    until = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
    Lane.objects.update(held_because="server_unreachable", held_until=until)
    assert "held until 2026-11-21 06:30: " in postroom("queue", "list").out


def test_a_sentence_moves_no_cursor_either_and_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate's subject is what a stranger wrote, too."""
    print_one(Row(), "one\x1b]0;PWNED\x07\ntwo\x9b2J", as_json=False)
    out = capsys.readouterr().out
    assert out == "one ]0;PWNED \ntwo 2J\n"
    assert cell(["a\x1b[2J", "b\nc"]) == "a [2J, b c"
