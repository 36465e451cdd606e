"""Times as people say them."""

from datetime import UTC, datetime, timedelta

import pytest

from postroom.templatetags.postroom import in_words, initials
from postroom.web.paging import newest_first
from postroom.workspaces.models import Workspace

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (timedelta(seconds=20), "now"),
        (timedelta(minutes=4), "in 4 min"),
        (-timedelta(minutes=59), "59 min ago"),
        (-timedelta(hours=5), "5 h ago"),
        (-timedelta(days=2), "8 Mar 12:00"),
        (-timedelta(days=400), "3 Feb 2025"),
    ],
)
def test_a_time_is_relative_within_a_day(gap: timedelta, words: str) -> None:
    """Then a date."""
    assert in_words(NOON + gap, NOON) == words


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Ana Pop", "AP"), ("ben@example.org", "BE"), ("", "?"), ("“Q” Ltd", "L"), ("ștefan", "Ș")],
)
def test_a_person_has_initials(name: str, letters: str) -> None:
    """Whatever they are called."""
    assert initials(name) == letters


@pytest.mark.parametrize("before", ["", None, "x", "-1", "9" * 40, "²"])
def test_a_key_that_is_none_starts_at_the_top(db: None, before: str | None) -> None:
    """No error page for an address that was typed by hand."""
    Workspace.objects.create(slug="one", name="One")
    assert len(newest_first(Workspace.objects.all(), before).rows) == 1
