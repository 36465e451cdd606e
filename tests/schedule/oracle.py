"""When actions are due, found by looking at every minute of a clock: slow, and nothing of it is ours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


def first_minute_showing(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first minute at which a clock on the wall shows `wall` or later."""
    at = wall.replace(tzinfo=UTC) - timedelta(hours=15)
    while at.astimezone(zone).replace(tzinfo=None) < wall:
        at += MINUTE
    return at


def day_by_day(begin: datetime, until: datetime, days: int, zone: ZoneInfo) -> Iterator[datetime]:
    """Due times every `days` days at the hour of `begin`, which is the first of them."""
    wall = begin.astimezone(zone).replace(tzinfo=None)
    at = begin
    while at < until:
        yield at
        wall += timedelta(days=days)
        at = first_minute_showing(wall, zone)


def by_duration(begin: datetime, until: datetime, length: timedelta) -> Iterator[datetime]:
    """Due times so far apart."""
    while begin < until:
        yield begin
        begin += length


def due_times(begin: datetime, until: datetime, interval: int, unit: str, zone: ZoneInfo) -> list[datetime]:
    """All due times from `begin`, which is one, to before `until`, each once."""
    if unit in ("minutes", "hours"):
        found = by_duration(begin, until, timedelta(**{unit: interval}))
    else:
        found = day_by_day(begin, until, interval * (7 if unit == "weeks" else 1), zone)
    return sorted({at.astimezone(UTC) for at in found})
