"""Any number of engines on one PostgreSQL: what goes between them, and what happens when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from postroom import engine
from postroom.engine.embedded import Engine
from tests.engine.shapes import Drain, lane, running, until, wake_from_another_process


def test_another_process_wakes_every_engine_of_the_fleet(
    fleet: Callable[..., Engine], data_folder: Path
) -> None:
    drained: list[str] = []
    names = ("ENGINE", "NAME", "HOST", "PORT", "USER", "PASSWORD", "OPTIONS")
    database = {name: connection.settings_dict[name] for name in names}

    def noting(who: str) -> Drain:
        async def drain(name: str) -> None:
            drained.append(f"{who} {name}")

        return drain

    async def story() -> None:
        async with (
            running(fleet(data_folder, [lane(noting("first"))])),
            running(fleet(data_folder, [lane(noting("second"))])),
        ):
            await wake_from_another_process(data_folder, database)
            await until(lambda: len(drained) == 2)

    asyncio.run(story())
    assert sorted(drained) == ["first a:7", "second a:7"]


def test_a_wake_reaches_the_other_engines_in_milliseconds_and_its_own_once(
    fleet: Callable[..., Engine], data_folder: Path
) -> None:
    own: list[str] = []
    delays: list[float] = []

    async def story() -> None:
        woken_at = 0.0

        async def here(name: str) -> None:
            own.append(name)

        async def there(name: str) -> None:
            delays.append(time.perf_counter() - woken_at)

        async with (
            running(fleet(data_folder, [lane(here)])) as first,
            running(fleet(data_folder, [lane(there)])),
        ):
            for count in range(1, 21):
                woken_at = time.perf_counter()
                await asyncio.to_thread(first.wake, "a:1")
                await until(lambda count=count: len(delays) == count)  # type: ignore[misc]
            await asyncio.sleep(0.1)

    asyncio.run(story())
    assert len(own) == 20
    assert sorted(delays)[len(delays) // 2] < 0.1


def test_many_wakes_of_a_lane_become_few_messages_to_the_fleet(
    fleet: Callable[..., Engine], data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postroom.engine import fleet as bells

    told: list[list[str]] = []
    tell = bells.Ringer._tell

    def noting(*given: Any) -> Any:
        told.append(given[2])
        return tell(*given)

    monkeypatch.setattr(bells.Ringer, "_tell", noting)
    drained: list[str] = []

    async def drain(name: str) -> None:
        drained.append(name)

    async def none(name: str) -> None: ...

    async def story() -> None:
        async with (
            running(fleet(data_folder, [lane(none)])) as first,
            running(fleet(data_folder, [lane(drain)])),
        ):
            told.clear()
            for _ in range(1000):
                first.wake("a:1")
            first.wake("a:2")
            await until(lambda: "a:2" in drained)

    asyncio.run(story())
    payloads = [payload for some in told for payload in some if "a:1" in payload]
    assert 1 <= len(payloads) <= 50
    assert all(len(payload.encode()) <= 200 for payload in payloads)


def test_two_engines_share_a_lane_and_neither_starves(
    fleet: Callable[..., Engine], data_folder: Path
) -> None:
    waiting = list(range(60))
    taken: dict[str, int] = {}

    def sharing(who: str) -> Drain:
        async def drain(name: str) -> None:
            while waiting:
                waiting.pop()
                taken[who] = taken.get(who, 0) + 1
                await asyncio.sleep(0.01)

        return drain

    async def story() -> None:
        async with (
            running(fleet(data_folder, [lane(sharing("first"))])) as first,
            running(fleet(data_folder, [lane(sharing("second"))])),
        ):
            first.wake("a:1")
            await until(lambda: not waiting)

    asyncio.run(story())
    assert set(taken) == {"first", "second"}
    assert min(taken.values()) >= 10


def test_a_listener_whose_connection_is_killed_comes_back_and_asks_what_it_missed(
    fleet: Callable[..., Engine], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drained: list[str] = []
    waiting: set[str] = set()

    async def drain(name: str) -> None:
        drained.append(name)
        waiting.discard(name)

    async def none(name: str) -> None: ...

    async def story() -> None:
        async with (
            running(fleet(data_folder, [lane(drain, lambda: sorted(waiting))])),
            running(fleet(data_folder, [lane(none)])) as other,
        ):
            await until(lambda: bool(listeners()), 5)
            waiting.add("a:77")  # nobody says so
            kill_listeners()
            await until(lambda: "a:77" in drained, 10)
            other.wake("a:78")
            await until(lambda: "a:78" in drained, 10)

    asyncio.run(story())
    assert "Wake-ups of other machines are not heard" in caplog.text


def test_an_engine_starts_and_wakes_itself_while_the_fleet_cannot_be_heard(
    fleet: Callable[..., Engine], data_folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postroom.engine import fleet as bells

    monkeypatch.setattr(bells, "START_SECONDS", 0.2)
    settings.POSTROOM_LISTEN_URL = "postgresql://127.0.0.1:1/nowhere"
    drained: list[str] = []

    async def drain(name: str) -> None:
        drained.append(name)

    async def story() -> None:
        async with running(fleet(data_folder, [lane(drain)])):
            engine.wake("a:1")
            await until(lambda: bool(drained))

    asyncio.run(story())
    assert drained == ["a:1"]


def test_a_pooler_that_swallows_wake_ups_is_named(
    fleet: Callable[..., Engine], data_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from postroom.engine import fleet as bells

    monkeypatch.setattr(bells, "DOUBT_SECONDS", 0.05)
    monkeypatch.setattr(bells.FleetBell, "ring", lambda *_: None)  # as if another session had listened

    async def none(name: str) -> None: ...

    async def story() -> None:
        async with running(fleet(data_folder, [lane(none)])):
            await until(lambda: "POSTROOM_LISTEN_URL" in caplog.text)

    asyncio.run(story())


def test_ringing_waits_for_nobody_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from postroom.engine import fleet as bells

    monkeypatch.setattr(bells, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(bells, "_address", lambda **_: {"conninfo": "postgresql://127.0.0.1:1/nowhere"})
    ringer = bells.Ringer()
    began_at = time.perf_counter()
    for _ in range(100):
        ringer.ring("a:1")
    assert time.perf_counter() - began_at < 0.5
    ringer.hush()
    assert caplog.text.count("Other machines cannot be woken") == 1


LISTENERS = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"


def listeners() -> list[int]:
    """The connections that listen, as the database sees them."""
    return [row[0] for row in asked(f"SELECT pid {LISTENERS}")]


def kill_listeners() -> None:
    """End them from outside."""
    asked(f"SELECT pg_terminate_backend(pid) {LISTENERS}")


def asked(statement: str) -> list[Any]:
    """Ask the database on a connection of our own."""
    import psycopg

    from postroom.engine.fleet import _address

    with psycopg.connect(**_address(), autocommit=True) as ours:
        return ours.execute(statement.replace("%%", "%").encode()).fetchall()
