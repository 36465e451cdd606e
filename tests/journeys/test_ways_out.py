"""Servers that go away and come back, and servers that ask for less, seen from outside."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.journeys.storm import Machine, Tables, Target, copies_at, ended_in_any_case, judge, until

pytestmark = pytest.mark.journey
AWAY = "SELECT COUNT(*) FROM postroom_lane WHERE via_id IS NOT NULL"
OUTCOMES = "SELECT outcome, code FROM postroom_attempt"


def machine_on_sqlite(folder: Path, relay: Target | None = None) -> tuple[Machine, Tables]:
    url = f"smtp://127.0.0.1:{relay.port}" if relay else ""
    machine = Machine(folder, {"DATABASE_URL": "", "RELAY_URL": url})
    return machine, Tables(str(folder / "postroom.sqlite3"))


def test_the_second_server_carries_what_the_first_cannot_until_it_is_back(tmp_path: Path) -> None:
    main, spare = Target(tmp_path / "main"), Target(tmp_path / "spare")
    machine, tables = machine_on_sqlite(tmp_path / "data")
    with ended_in_any_case(machine, main, spare):
        main.start()
        spare.start()
        servers = {"Main": {"port": main.port, "priority": 1}, "Spare": {"port": spare.port, "priority": 2}}
        machine.fill(urgent=300, bulk=100, servers=servers)
        machine.start()
        until(lambda: main.count >= 80, what="80 mails over the first server")
        main.stop()
        until(lambda: tables.waiting() == 0, what="the rest leaves over the second server")
        states = judge(tables, copies_at(main, spare), 400)
        assert states["failed"] <= 8  # bulk mail that was under way on one of the connections
        assert spare.count >= 400 - main.count - states["failed"] > 0
        assert "over Spare, because Main could not be reached" in trail_of_one_over(machine, tables, "Spare")
        assert tables.number(AWAY) > 0
        main.start()
        until(lambda: tables.number(AWAY) == 0, what="the lanes come home")
        before = main.count
        machine.command("message", "post", "--record", "sale.order/SO042", "--body", "Back again.")
        until(lambda: main.count > before and tables.waiting() == 0, what="mail leaves over the first server")


def trail_of_one_over(machine: Machine, tables: Tables, name: str) -> str:
    email_id = tables.number(
        f"SELECT MAX(email_id) FROM postroom_attempt WHERE server_name = '{name}' AND outcome = 'accepted'"
    )
    told = json.loads(machine.command("explain", f"em_{email_id}", "--json"))
    return "\n".join(f"{step['what']}: {step['detail']}" for step in told["steps"])


@pytest.mark.parametrize("mood", ["421 4.7.0 Too many mails from you", "451 4.7.1 Slow down, please"])
def test_a_server_that_asks_for_less_gets_all_of_it_later_and_nothing_fails(
    tmp_path: Path, mood: str
) -> None:
    target = Target(tmp_path / "taken")
    target.start()
    machine, tables = machine_on_sqlite(tmp_path / "data", target)
    with ended_in_any_case(machine, target):
        machine.fill(urgent=150, bulk=100)
        machine.start()
        until(lambda: target.count >= 60, what="60 mails taken")
        target.say(mood)
        held = "SELECT COUNT(*) FROM postroom_lane WHERE held_because = 'throttled'"
        until(lambda: tables.number(held) > 0, what="the lanes are held")
        taken = target.count
        assert tables.waiting() >= 250 - taken - 8
        target.say("")
        until(lambda: tables.waiting() == 0, what="all of it has left")
        assert judge(tables, copies_at(target), 250) == {"sent": 250}
        outcomes = Counter(tables.rows(OUTCOMES))
        code = int(mood[:3])
        assert set(outcomes) <= {("accepted", 250), ("deferred", code), ("uncertain", None)}
        assert outcomes["accepted", 250] == 250
        assert outcomes["deferred", code] > 0
        assert tables.number("SELECT COUNT(*) FROM postroom_email WHERE throttled_count > 0") > 0
