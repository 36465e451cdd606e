"""Machines that stop for a while and come back as if nothing had been: a worker, and the whole database."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.own_postgres import OwnPostgres, own_postgres
from tests.journeys.storm import Machine, Tables, Target, copies_at, ended_in_any_case, judge, until

pytestmark = pytest.mark.journey
COUNT = 6000
ROUNDS = 400
CLAIMING = """SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
    AND query LIKE '%picked AS MATERIALIZED%' AND state_change < now() - interval '0.04 s'"""
BLOCKED = "SELECT COUNT(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"


@pytest.fixture
def database() -> Iterator[OwnPostgres]:
    with own_postgres() as database:
        yield database


def freeze(machine: Machine) -> None:
    assert machine.run is not None
    os.kill(machine.run.pid, signal.SIGSTOP)


def thaw(machine: Machine) -> None:
    assert machine.run is not None
    os.kill(machine.run.pid, signal.SIGCONT)


def freeze_in_a_transaction(machine: Machine, tables: Tables) -> None:
    """Freeze it again and again until that is in the middle of a claim, with what its limit counts locked."""
    for _ in range(ROUNDS):
        freeze(machine)
        time.sleep(0.05)
        if tables.number(CLAIMING):
            return
        assert tables.waiting("AND lease = ''") > COUNT // 4, "It was never in the way"
        thaw(machine)
        time.sleep(0.03)
    raise AssertionError("It was never in the way")


def test_a_worker_that_freezes_in_a_transaction_stops_the_others_for_half_a_minute_at_most(
    tmp_path: Path, database: OwnPostgres
) -> None:
    target = Target(tmp_path / "taken", 0.02)
    target.start()
    settings = {"DATABASE_URL": database.url, "RELAY_URL": f"smtp://127.0.0.1:{target.port}"}
    frozen, other = (Machine(tmp_path / name, settings, role="worker") for name in ("frozen", "other"))
    tables = Tables(database.url)
    with ended_in_any_case(target, frozen, other):
        frozen.fill(urgent=COUNT, bulk=COUNT, limit=10 * COUNT)
        for worker in (frozen, other):
            worker.start()
        until(lambda: target.count >= 200, what="200 mails taken")
        freeze_in_a_transaction(frozen, tables)
        until(lambda: tables.number(BLOCKED), 20, "the other one waits for it")
        until(lambda: tables.number(CLAIMING) == 0, 45, "the lock is free again")
        until(lambda: tables.waiting("AND lease = ''") == 0, 180, "the other one drains what is left")
        assert "It is tried again" in other.log.read_text()
        thaw(frozen)
        until(lambda: tables.waiting() == 0, 120, "the frozen one settles what it had in hand")
        for worker in (frozen, other):
            assert worker.run is not None
            assert worker.run.poll() is None
            assert "Traceback" not in worker.log.read_text()
        states = judge(tables, copies_at(target), 2 * COUNT)
    assert states["sent"] > 2 * COUNT * 0.95


def answer(url: str) -> tuple[int, float]:
    """The status of an answer, and after how many seconds it came."""
    began_at = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=30) as said:
            status = said.status
    except urllib.error.HTTPError as error:
        status = error.code
    return status, time.monotonic() - began_at


def test_while_the_database_is_frozen_probes_answer_within_seconds(
    tmp_path: Path, database: OwnPostgres
) -> None:
    settings = {"DATABASE_URL": database.url, "RELAY_URL": ""}
    machine = Machine(tmp_path / "up", settings)
    with ended_in_any_case(machine):
        machine.start(is_awaited=True)
        url = f"http://{machine.env['POSTROOM_HTTP']}"
        until(lambda: answer(f"{url}/readyz")[0] == 200, what="it is ready")
        postmaster = database.server.get_postmaster_info().process
        parts = [postmaster, *postmaster.children(recursive=True)]
        for part in parts:
            part.send_signal(signal.SIGSTOP)
        try:
            answers = [answer(f"{url}/readyz") for _ in range(3)]
            alive = answer(f"{url}/livez")
        finally:
            for part in parts:
                part.send_signal(signal.SIGCONT)
        assert [status for status, _ in answers] == [503] * 3
        assert max(seconds for _, seconds in answers) < 10
        assert (alive[0], alive[1] < 5) == (200, True)
        until(lambda: answer(f"{url}/readyz")[0] == 200, what="it is ready again")
