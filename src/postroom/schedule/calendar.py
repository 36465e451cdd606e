"""When an action is called next: the arithmetic of intervals, clocks and months."""

from __future__ import annotations

import calendar
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

from postroom.schedule.models import ScheduledAction

Unit = ScheduledAction.Unit
SECOND = timedelta(seconds=1)
_LENGTHS = {Unit.MINUTES: timedelta(minutes=1), Unit.HOURS: timedelta(hours=1)}
_DAYS = {Unit.DAYS: 1, Unit.WEEKS: 7}


def next_call(
    previous: datetime, now: datetime, interval: int, unit: str, zone: zoneinfo.ZoneInfo
) -> datetime:
    """The first due time after `now`, of those `interval` units apart that begin at `previous`.

    All times are aware; the result is in UTC. Minutes and hours are plain durations: what runs every 5
    minutes, or every 24 hours, must neither pause for an hour nor run twice when the clocks change. Days,
    weeks and months keep the wall-clock time of `previous` in `zone`: an hour that the clocks skip becomes
    the first moment after the gap, an hour that comes twice counts the first time only. A month that is too
    short is called on its last day. Whatever lies between `previous` and `now` is passed over: one run makes
    up for all of it.

    Give the same `previous` again and again (an action's `anchor_at`), and neither a gap nor a short month
    moves the calls after it: 31 January, 28 February, 31 March.
    """
    # In UTC first: Python compares and subtracts two times of one zone as their walls show them.
    previous, now = previous.astimezone(UTC), now.astimezone(UTC)
    if unit in _LENGTHS:
        return _by_length(previous, now, interval * _LENGTHS[Unit(unit)])
    wall = previous.astimezone(zone).replace(tzinfo=None)
    if previous > now:
        return previous
    calls = (first_moment(day, zone) for day in _days(wall, now.astimezone(zone), interval, unit))
    return next(call for call in calls if call > now)


def call_before(
    planned: datetime, now: datetime, interval: int, unit: str, zone: zoneinfo.ZoneInfo
) -> datetime:
    """The first call after `now` of a rhythm to which `planned` belongs, which lies ahead: counted back."""
    planned, now = planned.astimezone(UTC), now.astimezone(UTC)
    if unit in _LENGTHS:
        length = interval * _LENGTHS[Unit(unit)]
        return next_call(planned - ((planned - now) // length + 1) * length, now, interval, unit, zone)
    wall, today = planned.astimezone(zone).replace(tzinfo=None), now.astimezone(zone)
    if unit == Unit.MONTHS:
        ahead = (wall.year - today.year) * 12 + wall.month - today.month
        begin = months_later(wall, -(ahead // interval + 1) * interval)
    else:
        days = interval * _DAYS[Unit(unit)]
        begin = wall - timedelta(days=((wall.date() - today.date()).days // days + 1) * days)
    return next_call(first_moment(begin, zone), now, interval, unit, zone)


def _by_length(previous: datetime, now: datetime, length: timedelta) -> datetime:
    steps = max(0, (now - previous) // length + 1)
    return previous + steps * length


def _days(wall: datetime, now: datetime, interval: int, unit: str) -> Iterator[datetime]:
    """The wall-clock times of the calls, from a little before `now` on."""
    if unit == Unit.MONTHS:
        passed = (now.year - wall.year) * 12 + now.month - wall.month
        return (months_later(wall, step * interval) for step in count(max(0, passed // interval - 1)))
    days = interval * _DAYS[Unit(unit)]
    passed = (now.date() - wall.date()).days
    return (wall + timedelta(days=step * days) for step in count(max(0, passed // days - 1)))


def months_later(wall: datetime, months: int) -> datetime:
    """The same day and time so many months later, or the last day of a month that is too short."""
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    day = min(wall.day, calendar.monthrange(year, month + 1)[1])
    return wall.replace(year=year, month=month + 1, day=day)


def first_moment(wall: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """When clocks in `zone` first show `wall` (naive) or, where they skip it, the first moment after.

    In UTC. Of a time that comes twice it is the first (PEP 495: fold=0).
    """
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    return _end_of_gap(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first, zone)


def _end_of_gap(before: datetime, after: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """The moment between the two at which the clocks are put forward; changes happen at full seconds."""
    offset = before.astimezone(zone).utcoffset()
    before, after = before.replace(microsecond=0), after.replace(microsecond=0)
    while after - before > SECOND:
        middle = before + (after - before) // 2 // SECOND * SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
