"""Time zones by name."""

from __future__ import annotations

import contextlib
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.time_zones import known_zone, zone_names


@pytest.mark.parametrize("typed", ["Europe/Bucharest", "europe/bucharest", " EUROPE/Bucharest "])
def test_a_zone_is_found_however_it_is_capitalised(typed: str) -> None:
    assert known_zone(typed) == "Europe/Bucharest"


def test_a_space_stands_for_the_underscore() -> None:
    assert known_zone("america/new york") == "America/New_York"


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("Bucharest", "Europe/Bucharest"),
        ("Europe/Bucarest", "Europe/Bucharest"),
        ("Madrid", "Europe/Madrid"),
        ("Europe/Bucuresti", "Europe/Bucharest"),
        ("Bucuresti", "Europe/Bucharest"),
    ],
)
def test_what_is_no_zone_is_refused_with_those_written_nearly_so(typed: str, near: str) -> None:
    with pytest.raises(RequestRefused, match=near):
        known_zone(typed)


@pytest.mark.parametrize("typed", ["", "localtime", "Factory", "../../etc/passwd", "\0", "x" * 5000])
def test_what_is_nothing_like_a_zone_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(RequestRefused, match="Write one like") as refused:
        known_zone(typed)
    assert len(str(refused.value)) < 200


@given(st.sampled_from(zone_names()))
def test_every_zone_that_is_offered_can_be_used(name: str) -> None:
    assert ZoneInfo(known_zone(name.upper())).key == name


@given(st.text(max_size=80))
def test_whatever_is_typed_is_a_zone_or_refused(typed: str) -> None:
    with contextlib.suppress(RequestRefused):
        assert known_zone(typed) in zone_names()
