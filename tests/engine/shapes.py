"""The shapes of the engine, and what tests of them share."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

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


@contextlib.asynccontextmanager
async def running(started: Engine) -> AsyncIterator[Engine]:
    """An engine that is stopped whatever happens."""
    await started.start()
    try:
        yield started
    finally:
        await started.stop(1)


def lane(drain: Drain, due: Callable[[], list[str]] = list) -> LaneKind:
    """A kind of numbered lanes with one drain."""
    return LaneKind("a:", drain, due, is_numbered=True)


async def until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait for a condition without holding the loop."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


ELSEWHERE = (
    "import sys, pathlib; from django.conf import settings; settings.configure("
    "POSTROOM_DATA=pathlib.Path(sys.argv[1]), DATABASES={'default': eval(sys.argv[2])});"
    " from postroom import engine; engine.wake('a:7')"
)


async def wake_from_another_process(folder: Path, database: dict[str, Any]) -> None:
    """A short command beside the engine: it wakes and ends."""
    line = [sys.executable, "-c", ELSEWHERE, str(folder), repr(database)]
    await asyncio.to_thread(subprocess.run, line, check=True)
