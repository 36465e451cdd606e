"""What every shape of the engine must show: alone on a data folder, and one of many on one PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import OperationalError

from postroom import engine
from postroom.engine.bells import EngineTaken
from postroom.engine.embedded import Engine
from postroom.engine.lanes import LaneKind
from tests.engine.shapes import lane, running, until, wake_from_another_process


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
        if name == "a:13" and calls[name] < 4:
            raise RuntimeError("the lane is broken")

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)], first_delay_seconds=0.005)):
            engine.wake("a:13")
            engine.wake("a:1")
            await until(lambda: calls.get("a:13") == 4)

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert calls == {"a:13": 4, "a:1": 1}
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


def test_a_database_that_is_away_is_one_line_and_no_defect(
    make: Callable[..., Engine], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    async def drain(name: str) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise OperationalError("server closed the connection\n\tunexpectedly")

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)], first_delay_seconds=0.005)):
            engine.wake("a:1")
            await until(lambda: len(calls) == 2)

    asyncio.run(story())
    [record] = [record for record in caplog.records if "a:1" in record.getMessage()]
    assert record.exc_info is None
    assert "the database does not answer (server closed the connection unexpectedly)" in record.getMessage()


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


FORGED = [
    "a:x",
    "a:",
    "a:0",
    "a:07",
    "a:-1",
    "a: 1",
    "a:1 ",
    "a:\u0661",
    "a:" + "9" * 19,
    "zebra:1",
    "\ufffd",
]


def test_forged_names_become_no_lanes_and_are_one_line(
    make: Callable[..., Engine], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drained: list[str] = []

    async def drain(name: str) -> None:
        drained.append(name)

    async def story() -> None:
        async with running(make(data_folder, [lane(drain), LaneKind("only:", drain, list)])):
            for name in [*FORGED, "only:1", "a:3", "only:"]:
                engine.wake(name)
            await until(lambda: len(drained) == 2)
            await asyncio.sleep(0.02)

    asyncio.run(story())
    assert drained == ["a:3", "only:"]
    [line] = [record.getMessage() for record in caplog.records if "no lane" in record.getMessage()]
    assert "'a:x'" in line


def test_a_lane_for_which_nothing_waits_is_forgotten(make: Callable[..., Engine], data_folder: Path) -> None:
    drained: list[str] = []

    async def drain(name: str) -> None:
        drained.append(name)

    async def story() -> None:
        async with running(make(data_folder, [lane(drain)])) as started:
            for number in range(1, 200):
                engine.wake(f"a:{number}")
            await until(lambda: len(drained) == 199)
            await until(lambda: not started._lanes)

    asyncio.run(story())


def test_wake_ups_do_not_hurry_a_broken_lane_and_it_is_forgotten_when_nothing_is_due(
    make: Callable[..., Engine], data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    due = ["a:1"]
    calls: list[str] = []

    async def drain(name: str) -> None:
        calls.append(name)
        raise RuntimeError("the lane is broken")

    async def story() -> None:
        kinds = [lane(drain, lambda: list(due))]
        async with running(make(data_folder, kinds, tick_seconds=60, first_delay_seconds=30)) as started:
            await until(lambda: len(calls) == 1)
            for _ in range(20):
                engine.wake("a:1")
                await asyncio.sleep(0.001)
            assert len(calls) == 1
            started.look()
            await until(lambda: len(calls) == 2)
            due.clear()
            started.look()
            await until(lambda: not started._lanes)

    asyncio.run(story())
    assert len(calls) == 2


def test_a_second_engine_on_a_folder_is_refused_with_the_way_to_postgresql(data_folder: Path) -> None:
    first, second = Engine(data_folder, []), Engine(data_folder, [])

    async def story() -> None:
        async with running(first):
            with pytest.raises(EngineTaken, match=r"`postroom migrate-store --to postgresql://"):
                await second.start()
        async with running(second):
            pass

    asyncio.run(story())


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
