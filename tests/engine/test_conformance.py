"""What every shape of the engine must show: alone on a data folder, and one of many on one PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from postroom import engine
from postroom.engine.bells import EngineTaken
from postroom.engine.embedded import Engine
from postroom.engine.lanes import LaneKind

Drain = Callable[[str], Awaitable[datetime | None]]


def alone(folder: Path, kinds: list[LaneKind], **options: Any) -> Engine:
    """The only engine of a data folder."""
    return Engine(folder, kinds, **options)


def in_fleet(folder: Path, kinds: list[LaneKind], **options: Any) -> Engine:
    """One of many on the database."""
    from postroom.engine.fleet import FleetBell

    return Engine(folder, kinds, bell=FleetBell(), **options)


@pytest.fixture(params=[alone, in_fleet])
def make(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Each shape of the engine in turn."""
    if request.param is in_fleet:
        request.getfixturevalue("fleet")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def fleet(django_db_setup: None) -> Callable[..., Engine]:
    """Engines of a fleet, which needs PostgreSQL."""
    if connection.vendor != "postgresql":
        pytest.skip("engines know each other only on PostgreSQL: run with --postgres")
    return in_fleet


@contextlib.asynccontextmanager
async def running(started: Engine) -> AsyncIterator[Engine]:
    """An engine that is stopped whatever happens."""
    await started.start()
    try:
        yield started
    finally:
        await started.stop(1)


def lane(drain: Drain, due: Callable[[], list[str]] = list) -> LaneKind:
    """A kind with one drain."""
    return LaneKind("a:", drain, due)


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait for a condition without holding the loop."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_wake_reaches_its_drain_in_milliseconds(make: Callable[..., Engine], data_folder: Path) -> None:
    delays: list[float] = []

    async def story() -> None:
        woken_at = 0.0

        async def drain(name: str) -> None:
            delays.append(time.perf_counter() - woken_at)

        async with running(make(data_folder, [lane(drain)])):
            for count in range(1, 21):
                woken_at = time.perf_counter()
                await asyncio.to_thread(engine.wake, "a:1")
                await until(lambda count=count: len(delays) == count)  # type: ignore[misc]

    asyncio.run(story())
    assert sorted(delays)[len(delays) // 2] < 0.05


def test_wakes_of_a_running_lane_become_one_more_drain(
    make: Callable[..., Engine], data_folder: Path
) -> None:
    drained: list[str] = []

    async def story() -> None:
        gate = asyncio.Event()

        async def drain(name: str) -> None:
            drained.append(name)
            await gate.wait()

        async with running(make(data_folder, [lane(drain)])):
            engine.wake("a:1")
            await until(lambda: len(drained) == 1)
            for _ in range(50):
                engine.wake("a:1")
            await asyncio.sleep(0.02)
            gate.set()
            await until(lambda: len(drained) == 2)
            await asyncio.sleep(0.02)

    asyncio.run(story())
    assert drained == ["a:1", "a:1"]


def test_a_lane_never_runs_twice_at_once_and_lanes_run_side_by_side(
    make: Callable[..., Engine], data_folder: Path
) -> None:
    now_running: list[str] = []
    most: dict[str, int] = {}
    side_by_side: list[int] = []

    async def drain(name: str) -> None:
        now_running.append(name)
        most[name] = max(most.get(name, 0), now_running.count(name))
        side_by_side.append(len(now_running))
        await asyncio.sleep(0.01)
        now_running.remove(name)

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)])):
            for _ in range(5):
                for name in ("a:1", "a:2", "a:3"):
                    engine.wake(name)
                await asyncio.sleep(0.004)
            await until(lambda: not now_running)

    asyncio.run(story())
    assert set(most.values()) == {1}
    assert max(side_by_side) == 3


def test_an_exception_in_one_lane_stops_no_other_and_it_comes_back(
    make: Callable[..., Engine], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: dict[str, int] = {}

    async def drain(name: str) -> None:
        calls[name] = calls.get(name, 0) + 1
        if name == "a:bad" and calls[name] < 4:
            raise RuntimeError("the lane is broken")

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)], first_delay_seconds=0.005)):
            engine.wake("a:bad")
            engine.wake("a:good")
            await until(lambda: calls.get("a:bad") == 4)

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert calls == {"a:bad": 4, "a:good": 1}
    said = [record.getMessage() for record in caplog.records]
    assert [text.rsplit(" in ")[1] for text in said] == ["0.005 s", "0.01 s", "0.02 s"]


def test_a_lane_comes_back_when_it_asked_to(make: Callable[..., Engine], data_folder: Path) -> None:
    calls: list[float] = []

    async def drain(name: str) -> datetime | None:
        calls.append(time.perf_counter())
        return datetime.now(UTC) + timedelta(seconds=0.06) if len(calls) == 1 else None

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)])):
            engine.wake("a:1")
            await until(lambda: len(calls) == 2)
            await asyncio.sleep(0.1)

    asyncio.run(story())
    assert len(calls) == 2
    assert calls[1] - calls[0] >= 0.05


def test_ticks_find_what_is_due_although_every_wake_up_was_lost(
    make: Callable[..., Engine], data_folder: Path
) -> None:
    waiting = {"a:1", "a:2"}
    drained: list[str] = []
    asked_in: list[threading.Thread] = []

    def due() -> list[str]:
        asked_in.append(threading.current_thread())
        return sorted(waiting)

    async def drain(name: str) -> None:
        drained.append(name)
        waiting.discard(name)

    async def story() -> None:
        async with running(make(data_folder, [lane(drain, due)], tick_seconds=0.02)):
            await until(lambda: not waiting)
            waiting.add("a:3")
            await until(lambda: not waiting)

    asyncio.run(story())
    assert sorted(drained) == ["a:1", "a:2", "a:3"]
    assert threading.main_thread() not in asked_in


def test_a_due_that_raises_does_not_end_the_ticking(
    make: Callable[..., Engine], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def due() -> list[str]:
        asked.append(1)
        raise OSError("no database")

    async def drain(name: str) -> None: ...

    async def story() -> None:
        async with running(make(data_folder, [lane(drain, due)], tick_seconds=0.01)):
            await until(lambda: len(asked) >= 3)

    asyncio.run(story())
    assert "Could not ask" in caplog.text


def test_stop_lets_a_running_drain_settle_within_its_grace(
    make: Callable[..., Engine], data_folder: Path
) -> None:
    settled: list[str] = []

    async def drain(name: str) -> None:
        while not engine.is_stopping():
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.03)
        settled.append(name)

    async def story() -> None:
        started = make(data_folder, [lane(drain)])
        await started.start()
        engine.wake("a:1")
        await asyncio.sleep(0.02)
        await started.stop(2)

    asyncio.run(story())
    assert settled == ["a:1"]


def test_stop_cancels_what_outlasts_the_grace(make: Callable[..., Engine], data_folder: Path) -> None:
    ends: list[str] = []

    async def drain(name: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def story() -> None:
        started = make(data_folder, [lane(drain)])
        await started.start()
        engine.wake("a:1")
        await asyncio.sleep(0.02)
        await started.stop(0.02)

    asyncio.run(story())
    assert ends == ["cancelled"]


def test_a_drain_can_wait_for_the_next_wake_of_its_lane(
    make: Callable[..., Engine], data_folder: Path
) -> None:
    answers: list[bool] = []

    async def drain(name: str) -> None:
        answers.append(await engine.next_wake(name, 2))
        answers.append(await engine.next_wake(name, 0.01))

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)])):
            engine.wake("a:1")
            await asyncio.sleep(0.02)
            engine.wake("a:1")
            await until(lambda: len(answers) == 2)
            await asyncio.sleep(0.02)

    asyncio.run(story())
    assert answers == [True, False]


def test_without_an_engine_a_wake_is_harmless(data_folder: Path) -> None:
    engine.wake("a:1")
    assert not engine.is_stopping()
    assert asyncio.run(engine.next_wake("a:1", 5)) is False


def test_names_that_nobody_knows_are_ignored(make: Callable[..., Engine], data_folder: Path) -> None:
    drained: list[str] = []

    async def drain(name: str) -> None:
        drained.append(name)

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)])):
            engine.wake("zebra:1")
            engine.wake("a:1")
            await until(lambda: bool(drained))

    asyncio.run(story())
    assert drained == ["a:1"]


def test_a_second_engine_on_a_folder_is_refused_with_the_way_to_postgresql(data_folder: Path) -> None:
    first, second = Engine(data_folder, []), Engine(data_folder, [])

    async def story() -> None:
        async with running(first):
            with pytest.raises(EngineTaken, match=r"DATABASE_URL=postgresql://"):
                await second.start()
        async with running(second):
            pass

    asyncio.run(story())


ELSEWHERE = (
    "import sys, pathlib; from django.conf import settings; settings.configure("
    "POSTROOM_DATA=pathlib.Path(sys.argv[1]), DATABASES={'default': eval(sys.argv[2])});"
    " from postroom import engine; engine.wake('a:7')"
)


async def wake_from_another_process(folder: Path, database: dict[str, Any]) -> None:
    """A short command beside the engine: it wakes and ends."""
    line = [sys.executable, "-c", ELSEWHERE, str(folder), repr(database)]
    await asyncio.to_thread(subprocess.run, line, check=True)


@pytest.mark.parametrize("depth", [0, 12])
def test_another_process_wakes_the_engine_of_its_folder(data_folder: Path, depth: int) -> None:
    folder = data_folder.joinpath(*["a-long-name"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    drained: list[str] = []

    async def drain(name: str) -> None:
        drained.append(name)

    async def story() -> None:
        async with running(Engine(folder, [lane(drain)])):
            await wake_from_another_process(folder, {"ENGINE": "postroom.sqlite"})
            await until(lambda: bool(drained))

    asyncio.run(story())
    assert drained == ["a:7"]


# A fleet.


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
            waiting.add("a:missed")  # nobody says so
            kill_listeners()
            await until(lambda: "a:missed" in drained, 10)
            other.wake("a:told")
            await until(lambda: "a:told" in drained, 10)

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
    pytest.importorskip("psycopg")
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
