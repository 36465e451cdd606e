"""Three workers drain one big queue, while they are killed and their database is restarted; others count."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.journeys.own_postgres import OwnPostgres, own_postgres
from tests.journeys.storm import Machine, Tables, Target, copies_at, ended_in_any_case, judge, until

pytestmark = pytest.mark.journey
COUNT = 20_000
PACE_SECONDS = 0.012
GAP_SECONDS = (2.0, 4.0)


@dataclass
class Fleet:
    """Three workers on one database, and the relay they hand mail to."""

    database: OwnPostgres
    target: Target
    workers: list[Machine]
    kills: int = 0
    restarts: int = 0
    states: Counter[str] = field(default_factory=Counter)
    taken_count: int = 0

    @property
    def tables(self) -> Tables:
        """The tables, read without the product."""
        return Tables(self.database.url)

    def storm(self, goal: int, *, seed: int, restart_at: int) -> None:
        """Kill a worker every few seconds and start it again, until the target has taken `goal` mails.

        Once it has taken `restart_at`, the database goes down in the middle of all that, for two seconds.
        """
        points = random.Random(seed)
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait()
        while self.target.count < goal:
            self._wait(points.uniform(*GAP_SECONDS), goal)
            if not self.restarts and self.target.count >= restart_at:
                self._restart_database()
            worker = points.choice(self.workers)
            worker.kill()
            self.kills += 1
            worker.start()

    def _wait(self, seconds: float, goal: int) -> None:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and self.target.count < goal:
            time.sleep(0.05)

    def _restart_database(self) -> None:
        self.database.stop()
        time.sleep(2)
        self.database.start()
        self.restarts += 1

    def settle(self, count: int, seconds: float = 120) -> None:
        """Let all of it leave, and hold the tables against what the target counted."""
        until(lambda: self.tables.waiting() == 0, seconds, "all of it has left")
        self.taken_count = self.target.count
        self.states = judge(self.tables, copies_at(self.target), count)


@contextlib.contextmanager
def three_workers(folder: Path) -> Iterator[Fleet]:
    """A database, a target and three workers that are not started yet."""
    target = Target(folder / "taken", PACE_SECONDS)
    target.start()
    with own_postgres() as database:
        settings = {"DATABASE_URL": database.url, "RELAY_URL": f"smtp://127.0.0.1:{target.port}"}
        workers = [Machine(folder / name, settings, role="worker") for name in ("one", "two", "three")]
        with ended_in_any_case(target, *workers):
            yield Fleet(database, target, workers)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with three_workers(tmp_path) as fleet:
        yield fleet


def test_three_workers_drain_twenty_thousand_while_they_and_their_database_are_killed(fleet: Fleet) -> None:
    fleet.workers[0].fill(urgent=COUNT // 2, bulk=COUNT // 2)
    fleet.storm(COUNT * 9 // 10, seed=20_000, restart_at=COUNT // 3)
    assert (fleet.restarts, fleet.kills >= 5) == (1, True)
    fleet.settle(COUNT)
    assert fleet.states["sent"] > COUNT * 0.9


def test_workers_come_back_by_themselves_after_their_database_was_away(fleet: Fleet) -> None:
    first, second, _ = fleet.workers
    first.fill(urgent=1500, bulk=0)
    for worker in (first, second):
        worker.start()
    until(lambda: fleet.target.count >= 200, what="200 mails taken")
    fleet.database.stop()
    back = threading.Timer(5, fleet.database.start)
    back.start()
    back.join()
    fleet.settle(1500)
    assert all(worker.run is not None and worker.run.poll() is None for worker in (first, second))
