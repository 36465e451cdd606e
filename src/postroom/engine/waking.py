"""`wake` from anywhere: the engine in this process, and those of other processes."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Protocol

from django.conf import settings

from postroom.engine.bells import Bell, FolderBell


class Running(Protocol):
    """The engine of this process, as `wake` and a drain see it."""

    @property
    def is_stopping(self) -> bool: ...
    def wake(self, name: str) -> None: ...
    async def next_wake(self, name: str, seconds: float) -> bool: ...


_running: Running | None = None


def wake(lane: str) -> None:
    """Let the lane be drained soon, here and by the others. Cheap, safe from every thread; for on_commit.

    Without an engine nothing happens: what is due stays due, and the next engine finds it.
    """
    engine = _running
    if engine is not None:
        engine.wake(lane)
    else:
        bell_of_settings().ring(lane)


def is_stopping() -> bool:
    """Has the engine of this process been asked to stop? A drain then takes nothing new and settles."""
    return _running is not None and _running.is_stopping


async def next_wake(lane: str, seconds: float) -> bool:
    """Wait in a drain until its lane is woken again: True then, False after `seconds` or without an engine.

    The wake-up is used up by this; the drain must look for work itself.
    """
    if _running is not None:
        return await _running.next_wake(lane, seconds)
    await asyncio.sleep(0)
    return False


def become_running(engine: Running | None) -> None:
    """Make this engine (None: no engine) the one that `wake` speaks to in this process."""
    global _running
    _running = engine


def bell_of_settings() -> Bell:
    """What a process without an engine rings: the fleet's on PostgreSQL, else that of the data folder."""
    if "postgresql" in _engine_of_database():
        return _fleet()
    return FolderBell(Path(settings.POSTROOM_DATA))


def _engine_of_database() -> str:
    databases = getattr(settings, "DATABASES", {})
    return str(databases.get("default", {}).get("ENGINE", ""))


@cache
def _fleet() -> Bell:
    from postroom.engine.fleet import FleetBell

    return FleetBell()
