"""`wake` from anywhere: the engine in this process, or the one that runs on the same data folder."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import tempfile
from pathlib import Path
from typing import Protocol

from django.conf import settings

SOCKET_NAME = "engine.sock"
LONGEST_SOCKET_PATH = 100  # sun_path holds 104 octets on some systems, 108 on Linux


class Running(Protocol):
    """The engine of this process, as `wake` and a drain see it."""

    @property
    def is_stopping(self) -> bool: ...
    def wake(self, name: str) -> None: ...
    async def next_wake(self, name: str, seconds: float) -> bool: ...


_running: Running | None = None


def wake(lane: str) -> None:
    """Let the lane be drained soon. Cheap and safe from every thread; for `transaction.on_commit`.

    Without an engine nothing happens: what is due stays due, and the next engine finds it.
    """
    engine = _running
    if engine is not None:
        engine.wake(lane)
    else:
        _send(socket_path(settings.POSTROOM_DATA), lane)


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


def socket_path(folder: Path) -> str:
    """Where the engine of a data folder listens for wake-ups of other processes.

    A path too long for a socket gets a short one in the system's folder for temporary files.
    """
    path = str(folder / SOCKET_NAME)
    if len(path.encode()) <= LONGEST_SOCKET_PATH:
        return path
    return f"{tempfile.gettempdir()}/postroom-{hashlib.sha256(path.encode()).hexdigest()[:16]}.sock"


def _send(path: str, lane: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(lane.encode(), path)
        except OSError:  # no engine, or one too busy to read: its tick finds what is due
            return
