"""When an action is called next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.schedule.calendar import first_moment, months_later, next_call
from tests.schedule.oracle import due_times, first_minute_showing

MADRID = ZoneInfo("Europe/Madrid")
BUCHAREST = ZoneInfo("Europe/Bucharest")
ZONES = [
    BUCHAREST,
    MADRID,
    ZoneInfo("America/St_Johns"),  # half an hour off, and changed at one minute past midnight
    ZoneInfo("Pacific/Apia"),  # had no 30 December 2011
    ZoneInfo("Australia/Lord_Howe"),  # puts its clocks forward by half an hour
]
LONG_AGO = datetime(1995, 1, 1, tzinfo=UTC)
zones = st.sampled_from(ZONES)
moments = st.integers(0, 40 * 365 * 1440).map(lambda minutes: LONG_AGO + timedelta(minutes=minutes))
days_when_clocks_change = st.sampled_from(
    [
        datetime(2026, 3, 29, tzinfo=UTC),
        datetime(2026, 10, 25, tzinfo=UTC),
        datetime(2011, 12, 30, tzinfo=UTC),
        datetime(2026, 10, 3, tzinfo=UTC),
        datetime(2027, 4, 3, tzinfo=UTC),
        datetime(2008, 3, 9, tzinfo=UTC),
        datetime(2008, 11, 2, tzinfo=UTC),
    ]
)
near_changes = st.builds(
    lambda day, minutes: day + timedelta(minutes=minutes),
    days_when_clocks_change,
    st.integers(-6 * 1440, 2 * 1440),
)
starts = st.one_of(moments, near_changes)
durations = st.tuples(st.sampled_from(["minutes", "hours"]), st.integers(1, 999))
calendar_units = st.tuples(st.sampled_from(["days", "weeks", "months"]), st.integers(1, 40))


def at(text: str, zone: ZoneInfo = MADRID, fold: int = 0) -> datetime:
    """What a clock in the zone shows."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def wall(moment: datetime, zone: ZoneInfo = MADRID) -> str:
    return moment.astimezone(zone).isoformat(sep=" ", timespec="minutes")[:16]


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        ("2026-03-27 02:30", ["03-28 02:30", "03-29 03:00", "03-30 02:30"]),  # 02:30 is skipped
        ("2026-10-23 02:30", ["10-24 02:30", "10-25 02:30", "10-26 02:30"]),  # 02:30 comes twice
        ("2026-03-27 03:00", ["03-28 03:00", "03-29 03:00", "03-30 03:00"]),
    ],
)
def test_a_daily_call_keeps_its_hour_when_the_clocks_change(previous: str, expected: list[str]) -> None:
    anchor = now = at(previous)
    calls = []
    for _ in expected:
        now = next_call(anchor, now, 1, "days", MADRID)
        calls.append(now)
    assert [wall(call)[5:] for call in calls] == expected
    assert len(set(calls)) == len(calls)


def test_an_hour_that_comes_twice_counts_the_first_time() -> None:
    call = next_call(at("2026-10-24 02:30"), at("2026-10-24 12:00"), 1, "days", MADRID)
    assert call == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    again = next_call(at("2026-10-24 02:30"), call, 1, "days", MADRID)
    assert again == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_five_minutes_are_five_minutes_while_the_clocks_change() -> None:
    now = anchor = at("2026-10-25 01:57")
    calls = [now := next_call(anchor, now, 5, "minutes", MADRID) for _ in range(20)]
    assert {later - sooner for sooner, later in pairwise(calls)} == {timedelta(minutes=5)}


def test_a_day_that_an_island_skips_is_made_up_for_at_once() -> None:
    apia = ZoneInfo("Pacific/Apia")
    call = next_call(at("2011-12-29 10:00", apia), at("2011-12-29 11:00", apia), 1, "days", apia)
    assert wall(call, apia) == "2011-12-31 00:00"
    assert wall(next_call(at("2011-12-29 10:00", apia), call, 1, "days", apia), apia) == "2011-12-31 10:00"


def test_the_thirty_first_comes_back_after_a_short_month() -> None:
    anchor = now = at("2027-01-31 08:00")
    calls = [now := next_call(anchor, now, 1, "months", MADRID) for _ in range(4)]
    assert [wall(call)[5:10] for call in calls] == ["02-28", "03-31", "04-30", "05-31"]


def test_all_calls_that_were_missed_are_made_up_by_one() -> None:
    call = next_call(at("2026-01-01 03:20"), at("2026-06-10 09:00"), 1, "days", MADRID)
    assert wall(call) == "2026-06-11 03:20"
    hourly = next_call(at("2026-01-01 03:20"), at("2026-06-10 09:00"), 60, "minutes", MADRID)
    assert wall(hourly) == "2026-06-10 09:20"


@given(starts, st.integers(0, 3000), durations, zones)
def test_durations_fall_on_their_grid_and_after_now(
    anchor: datetime, minutes: int, rhythm: tuple[str, int], zone: ZoneInfo
) -> None:
    unit, interval = rhythm
    length, now = timedelta(**{unit: interval}), anchor + timedelta(minutes=minutes)
    call = next_call(anchor, now, interval, unit, zone)
    assert now < call <= now + length
    assert not (call - anchor) % length


@given(starts, st.integers(0, 400), calendar_units, zones)
def test_calls_only_ever_go_forward(
    anchor: datetime, days: int, rhythm: tuple[str, int], zone: ZoneInfo
) -> None:
    unit, interval = rhythm
    now = anchor + timedelta(days=days)
    first = next_call(anchor, now, interval, unit, zone)
    second = next_call(anchor, first, interval, unit, zone)
    assert now < first < second
    just_before = next_call(anchor, first - timedelta(microseconds=1), interval, unit, zone)
    assert just_before == first


@given(starts, st.integers(0, 400), calendar_units, zones)
def test_the_hour_is_kept_wherever_it_exists(
    anchor: datetime, days: int, rhythm: tuple[str, int], zone: ZoneInfo
) -> None:
    unit, interval = rhythm
    now = anchor + timedelta(days=days)
    begun = anchor.astimezone(zone).replace(tzinfo=None)
    call = next_call(anchor, now, interval, unit, zone).astimezone(zone).replace(tzinfo=None)
    wanted = datetime.combine(call.date(), begun.time())
    exists = wanted.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wanted
    if exists and not is_moved_from_another_day(call, zone):
        assert call.time() == begun.time()
    if not exists:
        assert call > wanted


def is_moved_from_another_day(call: datetime, zone: ZoneInfo) -> bool:
    """Did the clocks skip everything before midnight, as in Apia or at midnight in St John's?"""
    before = call.replace(tzinfo=zone).astimezone(UTC) - timedelta(seconds=1)
    return call - before.astimezone(zone).replace(tzinfo=None) > timedelta(minutes=1)


@settings(max_examples=60, deadline=None)
@given(
    near_changes,
    st.sampled_from([("days", 1), ("days", 2), ("weeks", 1), ("hours", 5), ("minutes", 45)]),
    zones,
)
def test_calls_are_those_that_somebody_finds_who_watches_the_clock(
    anchor: datetime, rhythm: tuple[str, int], zone: ZoneInfo
) -> None:
    unit, interval = rhythm
    until, calls, now = anchor + timedelta(days=8), [anchor], anchor
    while (now := next_call(anchor, now, interval, unit, zone)) < until:
        calls.append(now)
    assert calls == due_times(anchor, until, interval, unit, zone)


@settings(max_examples=60, deadline=None)
@given(near_changes, zones)
def test_the_first_moment_is_when_the_clock_first_shows_the_time(moment: datetime, zone: ZoneInfo) -> None:
    shown = moment.replace(tzinfo=None)
    assert first_moment(shown, zone) == first_minute_showing(shown, zone)


@given(moments, st.integers(0, 500), st.integers(0, 500))
def test_months_keep_the_day_or_take_the_last(begin: datetime, some: int, more: int) -> None:
    start = begin.replace(tzinfo=None)
    later = months_later(start, some)
    assert (later.year * 12 + later.month) - (start.year * 12 + start.month) == some
    assert later.day == start.day or (later + timedelta(days=1)).month != later.month
    assert later.time() == start.time()
    assert months_later(start, some) <= months_later(start, some + more)
