"""The parts of `postroom up` in processes of their own, on one PostgreSQL, which may go away for a while."""

from __future__ import annotations

import contextlib
import json
import smtplib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.own_postgres import OwnPostgres, own_postgres
from tests.journeys.storm import (
    POSTROOM,
    Machine,
    Tables,
    Target,
    copies_at,
    ended_in_any_case,
    judge,
    until,
)

pytestmark = pytest.mark.journey
KNOWN = f"postroom_session={'x' * 32}"  # of a session that is over
ROLES = {"web": "web", "smtp": "smtp", "worker": "worker --http", "second": "worker"}


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    target = Target(tmp_path / "taken", seconds=0.01)
    target.start()
    yield target
    target.stop()


@pytest.fixture
def database() -> Iterator[OwnPostgres]:
    with own_postgres() as database:
        yield database


@pytest.fixture
def tables(database: OwnPostgres) -> Tables:
    return Tables(database.url)


@pytest.fixture
def parts(tmp_path: Path, tables: Tables, target: Target) -> Iterator[dict[str, Machine]]:
    settings = {"DATABASE_URL": tables.url, "RELAY_URL": f"smtp://127.0.0.1:{target.port}"}
    parts = {name: Machine(tmp_path / name, settings, role=role) for name, role in ROLES.items()}
    with ended_in_any_case(*parts.values()):
        yield parts


def get(machine: Machine, path: str, cookie: str = "") -> tuple[int, str]:
    """What a part answers on its address of pages."""
    asked = urllib.request.Request(f"http://{machine.env['POSTROOM_HTTP']}{path}")
    asked.add_header("Cookie", cookie)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def is_open(endpoint: str) -> bool:
    """Does anybody take mail there?"""
    host, _, port = endpoint.rpartition(":")
    with contextlib.suppress(OSError), smtplib.SMTP(host, int(port), timeout=5) as session:
        return session.noop()[0] == 250
    return False


def answer_to(endpoint: str, recipient: str) -> int:
    """The code that RCPT gets."""
    host, _, port = endpoint.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as session:
        session.ehlo("mail.example.org")
        session.mail("ben@example.org")
        return session.rcpt(recipient)[0]


def present(tables: Tables) -> list[str]:
    """The roles that are there, as the database knows them."""
    return sorted(row[0] for row in tables.rows("SELECT role FROM postroom_station"))


def test_each_part_does_its_own_and_together_they_are_the_whole(
    parts: dict[str, Machine], tables: Tables, target: Target
) -> None:
    web, smtp, worker = parts["web"], parts["smtp"], parts["worker"]
    web.fill(urgent=20)
    web.start(is_awaited=True)
    assert get(web, "/readyz")[0] == 503  # nobody sends yet
    smtp.start(is_awaited=True)
    assert tables.waiting() == 20
    worker.start(is_awaited=True)
    assert present(tables) == ["smtp", "web", "worker"]
    assert "pages and API" in web.log.read_text()
    assert "incoming mail" in smtp.log.read_text()
    assert "sends mail" in worker.log.read_text()
    assert get(web, "/readyz")[0] == 200
    assert get(worker, "/readyz")[0] == 200
    assert get(web, "/accounts/login/")[0] == 200
    assert get(worker, "/accounts/login/")[0] == 404
    assert [is_open(part.env["POSTROOM_SMTP"]) for part in (web, smtp, worker)] == [False, True, False]
    until(lambda: tables.waiting() == 0, 60, "all of it has left")
    judge(tables, copies_at(target), 20)
    assert json.loads(worker.command("readyz", "--json"))["is_ready"] is True
    assert [part.stop() for part in (web, smtp, worker)] == [0, 0, 0]
    assert present(tables) == []


def test_a_command_on_another_machine_wakes_the_worker_at_once(
    parts: dict[str, Machine], tables: Tables, target: Target
) -> None:
    web, worker = parts["web"], parts["worker"]
    web.fill(urgent=0)
    worker.start(is_awaited=True)
    time.sleep(2)  # its first look is over; the next one comes after a minute
    posted = ("--record", "sale.order/SO042", "--body", "They are here.", "--to", "ben@example.org")
    web.command("message", "post", *posted)
    until(lambda: target.count >= 1, 20, "it has left")


def test_two_workers_share_a_queue_and_one_that_is_stopped_leaves_at_once(
    parts: dict[str, Machine], tables: Tables, target: Target
) -> None:
    first, second = parts["worker"], parts["second"]
    first.fill(urgent=600)
    first.start(is_awaited=True)
    second.start(is_awaited=True)
    until(lambda: target.count >= 50, what="50 mails taken")
    assert second.stop() == 0
    assert present(tables) == ["worker"]
    until(lambda: tables.waiting() == 0, 90, "all of it has left")
    assert judge(tables, copies_at(target), 600)["sent"] == 600


def test_while_the_database_is_away_pages_say_so_and_mail_is_put_off_and_then_all_goes_on(
    parts: dict[str, Machine], database: OwnPostgres, target: Target
) -> None:
    web, smtp, worker = parts["web"], parts["smtp"], parts["worker"]
    web.fill(urgent=400)
    for part in (web, smtp):
        part.start(is_awaited=True)
    known = answer_to(smtp.env["POSTROOM_SMTP"], "nobody@elsewhere.example")
    assert known == 550
    worker.start(is_awaited=True)
    until(lambda: target.count >= 50, what="50 mails taken")
    database.stop()
    code, page = get(web, "/", KNOWN)
    assert code == 503
    assert "database" in page
    assert "Traceback" not in page
    code, problem = get(web, "/api/v1/records", KNOWN)
    assert code == 503
    assert json.loads(problem)["status"] == 503
    assert get(web, "/readyz")[0] == 503
    assert get(web, "/livez")[0] == 200
    assert answer_to(smtp.env["POSTROOM_SMTP"], "nobody@elsewhere.example") == 451
    time.sleep(3)
    database.start()
    tables = Tables(database.url)
    until(lambda: get(web, "/", KNOWN)[0] == 200, 30, "the pages are back")
    until(lambda: answer_to(smtp.env["POSTROOM_SMTP"], "nobody@elsewhere.example") == 550, 30, "smtp is back")
    until(lambda: tables.waiting() == 0, 90, "all of it has left")
    judge(tables, copies_at(target), 400)
    until(lambda: get(web, "/readyz")[0] == 200, 60, "ready")
    assert all(part.run is not None and part.run.poll() is None for part in (web, smtp, worker))


def test_a_part_that_starts_before_its_database_waits_for_it_and_says_so(
    parts: dict[str, Machine], database: OwnPostgres
) -> None:
    database.stop()
    worker = parts["worker"]
    worker.start()
    until(lambda: "Waiting for the database" in worker.log.read_text())
    database.start()
    worker.wait()


@pytest.mark.parametrize("role", ["web", "smtp", "worker"])
def test_on_sqlite_a_part_is_refused_with_the_way_to_postgresql(tmp_path: Path, role: str) -> None:
    machine = Machine(tmp_path / "only", {"DATABASE_URL": ""})
    ran = subprocess.run(
        [*POSTROOM, role], env=machine.env, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 1
    assert "needs PostgreSQL" in ran.stderr
    assert "postroom migrate-store" in ran.stderr
    assert not list(machine.folder.iterdir())
