"""livez and readyz."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client

from postroom.diagnostics import readiness
from postroom.workspaces import installation, stations
from postroom.workspaces.models import Station
from tests.people import Cast


@pytest.fixture
def worker(transactional_db: None) -> Iterator[Station]:
    """An engine that runs somewhere."""
    yield stations.come(Station.Role.WORKER)
    stations._here, stations._place = "", (0, 1)


def test_alive_means_that_it_answers(client: Client) -> None:
    """Without a database."""
    assert client.get("/livez").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/health"])
def test_ready_means_database_tables_engine_and_room(worker: Station, client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": True, "migrations": True, "engine": True, "disk": True}
    assert answer.json()["figures"]["oldest_due_seconds"] == 0
    assert answer.json()["figures"]["is_capturing"] is False


def test_without_an_engine_anywhere_it_is_not_ready(worker: Station, client: Client) -> None:
    Station.objects.update(seen_at=Now() - timedelta(seconds=36))
    stations.come(Station.Role.WEB)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["engine"]) == (503, False)


def test_ready_says_that_capture_mode_keeps_mail_in(worker: Station, client: Client, people: Cast) -> None:
    installation.start_capture(workspace=people.workspace)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["figures"]["is_capturing"]) == (200, True)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("total", "free", "has_room"),
    [
        (10**12, 10**12 // 100 - 1, False),
        (10**12, 10**12 // 100, True),
        (10**9, 99 * 2**20, False),
        (10**9, 101 * 2**20, True),
    ],
)
@pytest.mark.usefixtures("worker")
def test_a_full_disk_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch, total: int, free: int, has_room: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total, total - free, free))
    answer = client.get("/readyz")
    assert answer.json()["checks"]["disk"] is has_room
    assert answer.status_code == (200 if has_room else 503)


def without_database(*_: Any) -> bool:
    raise OperationalError("connection to server at 10.1.2.3 failed: [Errno 111]")


def test_without_a_database_it_says_so_and_names_no_address(
    worker: Station, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_are_migrations_done", without_database)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] is False
    assert "10.1.2.3" not in answer.content.decode()


def test_while_the_database_hangs_it_says_so_within_seconds_and_asks_no_second_time(
    worker: Station, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, is_back = [], threading.Event()

    def hang() -> bool:
        questions.append(1)
        return is_back.wait(30)

    monkeypatch.setattr(readiness, "LONGEST_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(readiness, "_are_migrations_done", hang)
    began_at = time.monotonic()
    answers = [client.get("/readyz") for _ in range(3)]
    assert time.monotonic() - began_at < 3
    assert [(each.status_code, each.json()["checks"]["database"]) for each in answers] == [(503, False)] * 3
    assert len(questions) == 1
    assert client.get("/livez").status_code == 200
    is_back.set()
    assert readiness._asking is not None
    readiness._asking.join(10)
    monkeypatch.setattr(readiness, "LONGEST_LOOK_SECONDS", 10)
    assert client.get("/readyz").status_code == 200


def test_strangers_read_no_more_than_whether_it_is_ready(
    worker: Station, client: Client, settings: Any
) -> None:
    assert client.get("/readyz", REMOTE_ADDR="192.0.2.7").json() == {"status": "ok"}
    settings.POSTROOM_METRICS_TOKEN = "correct horse"
    named = client.get("/readyz", REMOTE_ADDR="192.0.2.7", headers={"Authorization": "Bearer correct horse"})
    assert "checks" in named.json()
