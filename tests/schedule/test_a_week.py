"""Weeks in which the clocks change, lived through by the minute: every due time runs once, and nothing else.

What is due is found by `tests.schedule.oracle`, which shares nothing with the scheduler.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, connections

from postroom.schedule import running
from postroom.schedule.models import ScheduledAction
from postroom.schedule.running import Outcome, Result
from postroom.workspaces.models import Workspace
from tests.people import cast
from tests.schedule.oracle import due_times
from tests.schedule.rows import KEYS

WEEKS = {
    "spring 2026": datetime(2026, 3, 26, 0, 0, tzinfo=UTC),
    "autumn 2026": datetime(2026, 10, 22, 0, 0, tzinfo=UTC),
    "spring 2027": datetime(2027, 3, 25, 0, 0, tzinfo=UTC),
    "autumn 2027": datetime(2027, 10, 28, 0, 0, tzinfo=UTC),
    "no change": datetime(2026, 12, 1, 0, 0, tzinfo=UTC),
}
ZONES = {"buc": "Europe/Bucharest", "mad": "Europe/Madrid"}
#: Of each action: interval, unit, and the first call after the week has begun. 00:30 and 01:30 UTC are the
#: hours that the clocks of Madrid and Bucharest skip or show twice.
RHYTHMS = {
    "mail_queue": (60, "minutes", timedelta(minutes=17)),
    "mailing_queue": (1, "days", timedelta(minutes=30)),
    "scheduled_messages": (7, "hours", timedelta(minutes=45)),
    "auto_vacuum": (1, "days", timedelta(hours=1, minutes=30)),
    "dns_check": (150, "minutes", timedelta(minutes=5)),
}
OTHERWISE = {
    "mail_queue": (100, "minutes", timedelta(minutes=3)),
    "mailing_queue": (2, "days", timedelta(hours=1)),
    "scheduled_messages": (1, "days", timedelta(minutes=59)),
    "auto_vacuum": (1, "weeks", timedelta(days=1, hours=1, minutes=15)),
    "dns_check": (5, "hours", timedelta(hours=2)),
}
Fired = Counter[tuple[str, str, datetime]]


def begin(week: datetime, rhythms: dict[str, tuple[int, str, timedelta]]) -> None:
    """Two workspaces with their actions planned."""
    for slug, zone in ZONES.items():
        workspace = cast(slug).workspace
        Workspace.objects.filter(pk=workspace.pk).update(time_zone=zone)
        for key, (interval, unit, first) in rhythms.items():
            ScheduledAction.objects.filter(workspace=workspace, key=key).update(
                interval=interval, unit=unit, next_call_at=week + first, anchor_at=week + first
            )


def expected(week: datetime, until: datetime, rhythms: dict[str, tuple[int, str, timedelta]]) -> Fired:
    """What the oracle finds."""
    return Counter(
        (slug, key, at)
        for slug, zone in ZONES.items()
        for key, (interval, unit, first) in rhythms.items()
        for at in due_times(week + first, until, interval, unit, ZoneInfo(zone))
    )


def take_and_end(lease: str, now: datetime) -> tuple[str, str, datetime] | None:
    """Run one that is due; return which, and the due time that it stood at."""
    taken = running.take(lease, KEYS, now)
    if taken is None:
        return None
    action = taken.action
    running.finish(action.pk, lease, Outcome(Result.DONE), now)
    return action.workspace.slug, action.key, action.next_call_at


def due_minutes(until: datetime) -> Iterator[datetime]:
    """The clock, from due time to due time."""
    while (at := running.next_at(KEYS)) is not None and at < until:
        yield at


@pytest.mark.parametrize(
    ("name", "rhythms"),
    [
        pytest.param(name, rhythms, id=f"{name}, {'as shipped' if rhythms is RHYTHMS else 'otherwise'}")
        for name, rhythms in zip(WEEKS, (RHYTHMS, OTHERWISE, OTHERWISE, RHYTHMS, OTHERWISE), strict=True)
    ],
)
@pytest.mark.django_db
def test_three_takers_by_turns_run_every_due_time_of_the_week_once(
    name: str, rhythms: dict[str, tuple[int, str, timedelta]]
) -> None:
    week = WEEKS[name]
    until = week + timedelta(days=7)
    begin(week, rhythms)
    fired: Fired = Counter()
    for at in due_minutes(until):
        turns = itertools.cycle(("taker 1", "taker 2", "taker 3"))
        while found := take_and_end(next(turns), at):
            assert found[2] == at  # on time, not later
            fired[found] += 1
    assert fired == expected(week, until, rhythms)


@pytest.mark.parametrize("name", ["spring 2026", "autumn 2026"])
@pytest.mark.django_db
def test_a_clock_that_goes_by_the_minute_misses_nothing(name: str) -> None:
    week = WEEKS[name] + timedelta(days=2, hours=22)  # the night in which the clocks change
    until = week + timedelta(hours=5)
    begin(week, RHYTHMS)
    fired: Fired = Counter()
    at = week
    while at < until:
        while found := take_and_end("taker", at):
            fired[found] += 1
        at += timedelta(minutes=1)
    assert fired == expected(week, until, RHYTHMS)


@pytest.mark.django_db(transaction=True)
def test_three_threads_run_every_due_time_of_a_night_once() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("on SQLite one engine takes, in one thread: run with --postgres")
    week = WEEKS["autumn 2026"] + timedelta(days=1)
    until = week + timedelta(days=3)
    begin(week, RHYTHMS)
    machines = Machines(until)
    machines.live()
    assert machines.fired == expected(week, until, RHYTHMS)


class Machines:
    """Three threads that take at the same time, from due time to due time."""

    def __init__(self, until: datetime) -> None:
        self.until = until
        self.fired: Fired = Counter()
        self.now: datetime | None = None
        self._lock = threading.Lock()
        self._all_here = threading.Barrier(3, action=self._go_on)

    def live(self) -> None:
        threads = [threading.Thread(target=self._live, args=(f"taker {turn}",)) for turn in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

    def _live(self, lease: str) -> None:
        try:
            while self._all_here.wait(60) >= 0 and self.now is not None:
                self._take_all(lease, self.now)
        finally:
            connections.close_all()

    def _take_all(self, lease: str, now: datetime) -> None:
        while found := take_and_end(lease, now):
            with self._lock:
                self.fired[found] += 1

    def _go_on(self) -> None:
        self.now = next(due_minutes(self.until), None)


@pytest.mark.django_db
def test_an_engine_that_slept_for_a_weekend_runs_each_action_once_and_then_as_planned() -> None:
    week = WEEKS["spring 2026"]
    awake_at, until = week + timedelta(days=4, hours=9), week + timedelta(days=7)
    begin(week, RHYTHMS)
    late: Counter[tuple[str, str]] = Counter()
    while found := take_and_end("taker", awake_at):
        late[found[:2]] += 1
    assert late == Counter((slug, key) for slug in ZONES for key in RHYTHMS)
    fired: Fired = Counter()
    for at in due_minutes(until):
        while found := take_and_end("taker", at):
            fired[found] += 1
    assert fired == Counter(due for due in expected(week, until, RHYTHMS) if due[2] > awake_at)
