"""Two machines drain one queue on one PostgreSQL and are killed again and again; somebody else counts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.journeys.storm import (
    Machine,
    Tables,
    Target,
    copies_at,
    ended_in_any_case,
    judge,
    postgres,
    storm,
    until,
)

pytestmark = pytest.mark.journey
URGENT, BULK = 1200, 800
LEASED = "NOT (lease = '')"
IN_HAND = f"SELECT COUNT(*) FROM postroom_email WHERE {LEASED}"
USED = "SELECT COALESCE(SUM(used_count), 0) FROM postroom_allowance WHERE unit = 'quota_day'"
CONSUMING = (
    "SELECT COUNT(*) FROM postroom_attempt a JOIN postroom_email e ON e.id = a.email_id"
    " JOIN postroom_lane l ON l.id = e.lane_id WHERE a.outcome IN ('accepted', 'uncertain')"
)
UNCERTAIN = "SELECT COUNT(*) FROM postroom_attempt WHERE outcome = 'uncertain'"


@pytest.fixture
def tables() -> Iterator[Tables]:
    with postgres() as url:
        yield Tables(url)


@pytest.fixture
def machines(tmp_path: Path, tables: Tables, target: Target) -> Iterator[list[Machine]]:
    settings = {"DATABASE_URL": tables.url, "RELAY_URL": f"smtp://127.0.0.1:{target.port}"}
    machines = [Machine(tmp_path / name, settings) for name in ("first", "second", "third")]
    with ended_in_any_case(*machines):
        yield machines


def test_two_machines_that_start_at_once_make_the_tables_once(machines: list[Machine]) -> None:
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.wait()


def test_killed_again_and_again_two_machines_lose_nothing_and_double_nothing_silently(
    machines: list[Machine], tables: Tables, target: Target
) -> None:
    first, second, _ = machines
    first.fill(urgent=URGENT, bulk=BULK)
    kills = storm([first, second], target, seed=20261121, goal=1700)
    assert kills >= 5
    until(lambda: tables.waiting() == 0, 90, "all of it has left")
    states = judge(tables, copies_at(target), URGENT + BULK)
    assert states["sent"] > (URGENT + BULK) * 0.9


def test_what_a_machine_had_in_hand_that_never_comes_back_is_rescued_when_its_time_is_over(
    machines: list[Machine], tables: Tables, target: Target
) -> None:
    first, _, third = machines
    third.fill(urgent=400, bulk=400)
    third.start()
    until(lambda: target.count >= 30, what="30 mails taken")
    third.kill()
    in_hand = tables.number(IN_HAND)
    assert in_hand > 0
    first.start(is_awaited=True)
    until(lambda: tables.waiting() == in_hand, what="all others have left")
    assert tables.number(IN_HAND) == in_hand
    tables.rows(
        f"UPDATE postroom_email SET leased_until = CURRENT_TIMESTAMP - interval '1 second' WHERE {LEASED}"
    )
    first.wake("housekeeping:")  # what its tick does within a minute
    until(lambda: tables.waiting() == 0, what="the rest is rescued")
    before = judge(tables, copies_at(target), 800)
    assert before["failed"] > 0  # bulk mail that may have left is left to people
    third.start(is_awaited=True)  # it does come back, and its journal knows more
    until(lambda: not list((third.folder / "journal").glob("*.journal")), what="its journal is read")
    after = judge(tables, copies_at(target), 800)
    assert after["sent"] >= before["sent"]


def test_two_machines_keep_a_daily_limit_while_they_are_killed(
    machines: list[Machine], tables: Tables, target: Target
) -> None:
    skip_at_the_end_of_a_day()
    first, second, _ = machines
    first.fill(urgent=500, bulk=500, limit=300)
    assert storm([first, second], target, seed=300, goal=260, gaps=(10, 40)) >= 3
    keep_limit(first, tables, target, 300)


def test_one_machine_on_sqlite_keeps_a_daily_limit_while_it_is_killed(tmp_path: Path, target: Target) -> None:
    skip_at_the_end_of_a_day()
    machine = Machine(tmp_path / "only", {"DATABASE_URL": "", "RELAY_URL": f"smtp://127.0.0.1:{target.port}"})
    tables = Tables(str(machine.folder / "postroom.sqlite3"))
    with ended_in_any_case(machine):
        machine.fill(urgent=500, bulk=500, limit=300)
        assert storm([machine], target, seed=301, goal=260, gaps=(10, 40)) >= 3
        keep_limit(machine, tables, target, 300)


def keep_limit(machine: Machine, tables: Tables, target: Target, limit: int) -> None:
    """Exactly so many are used, the rest waits for 23:00 UTC and says why; with a higher limit it leaves."""
    until(lambda: tables.number(USED) == limit and not tables.number(IN_HAND), what="the limit is used")
    time.sleep(1)
    judge(tables, copies_at(target), 1000)
    assert tables.number(USED) == limit == tables.number(CONSUMING)
    assert limit - tables.number(UNCERTAIN) <= target.count <= limit
    bulk = tables.number(f"{CONSUMING} AND stream = 'bulk'")
    assert bulk <= limit * 0.8
    resets_at = next_reset()
    quota = json.loads(machine.command("quota", "show", "--json"))
    assert (quota["used"], quota["limit"]) == (limit, limit)
    assert datetime.fromisoformat(quota["resets_at"]) == resets_at
    assert quota["held"] > 0
    for _stream, because, until_at in tables.rows(
        "SELECT stream, held_because, held_until FROM postroom_lane"
    ):
        assert (because, str(until_at)[:16]) == ("daily_limit", f"{resets_at:%Y-%m-%d %H:%M}")
    left_before = target.count
    machine.command("quota", "set", "demo", "5000")
    until(lambda: tables.waiting() == 0, what="the rest has left")
    judge(tables, copies_at(target), 1000)
    assert tables.number(USED) == tables.number(CONSUMING) >= 1000
    streams = [mail["to"][:4] for mail in target.taken[left_before:]]
    urgent_ends_at = max(at for at, stream in enumerate(streams) if stream == "urge")
    bulk_before = streams[:urgent_ends_at].count("bulk")
    assert bulk_before < streams.count("bulk") / 2, "urgent mail goes first"


def next_reset() -> datetime:
    """The next 23:00 UTC."""
    now = datetime.now(UTC)
    today = now.replace(hour=23, minute=0, second=0, microsecond=0)
    return today if now < today else today + timedelta(days=1)


def skip_at_the_end_of_a_day() -> None:
    """What is used is counted by the day of the limit."""
    if next_reset() - datetime.now(UTC) < timedelta(minutes=3):
        pytest.skip("another day of the limit is about to begin")
