"""How a wake-up reaches an engine from another process: the bell of one engine alone, and what a bell is."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

LOCK_NAME = "engine.lock"
SOCKET_NAME = "engine.sock"
LONGEST_SOCKET_PATH = 100  # sun_path holds 104 octets on some systems, 108 on Linux
LONGEST_TOLD_OCTETS = 200


class EngineTaken(Exception):
    """Another engine runs on this data folder; the message names the remedy."""


class Bell(Protocol):
    """Carries wake-ups between processes. None has to arrive: the tables say what is due."""

    def claim(self) -> None:
        """Make sure that an engine may run here; twice is harmless. Raises EngineTaken."""

    async def listen(self, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """From now on call `heard` in this loop with every lane that another process wakes.

        `missed` is called whenever wake-ups may have been lost. Returns once it listens, or when it is clear
        that this takes longer.
        """

    def ring(self, lane: str) -> None:
        """Tell the other engines, if there are any. Never raises, never waits; safe from every thread."""

    async def close(self) -> None:
        """Listen no more, and let another engine claim the place."""


class FolderBell:
    """One engine per data folder: a file lock keeps a second one away, a datagram socket takes wake-ups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock_file: IO[str] | None = None
        self._ear: socket.socket | None = None

    def claim(self) -> None:
        """Take the folder's lock."""
        if self._lock_file is None:
            self._lock_file = _locked(self.folder / LOCK_NAME)

    async def listen(self, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Bind the socket; nothing can be missed while it is bound."""
        path = socket_path(self.folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # left by an engine that was killed; the lock says that it is gone
        ear = self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.setblocking(False)
        ear.bind(path)
        os.chmod(path, 0o600)
        asyncio.get_running_loop().add_reader(ear.fileno(), _hear, ear, heard)

    def ring(self, lane: str) -> None:
        """Tell the folder's engine; if that is ours, there is nobody else to tell."""
        if self._lock_file is None:
            _send(socket_path(self.folder), lane)

    async def close(self) -> None:
        """Remove the socket, then give the lock up."""
        if self._ear is not None:
            asyncio.get_running_loop().remove_reader(self._ear.fileno())
            self._ear.close()
            self._ear = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(socket_path(self.folder))
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


def socket_path(folder: Path) -> str:
    """Where the engine of a data folder listens for wake-ups of other processes.

    A path too long for a socket gets a short one in the system's folder for temporary files.
    """
    path = str(folder / SOCKET_NAME)
    if len(path.encode()) <= LONGEST_SOCKET_PATH:
        return path
    return f"{tempfile.gettempdir()}/postroom-{hashlib.sha256(path.encode()).hexdigest()[:16]}.sock"


def is_taken(folder: Path) -> bool:
    """Does an engine run alone on this data folder?"""
    try:
        _locked(folder / LOCK_NAME).close()
    except EngineTaken:
        return True
    return False


def _hear(ear: socket.socket, heard: Callable[[str], None]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            heard(ear.recv(LONGEST_TOLD_OCTETS).decode("utf-8", "replace"))


def _send(path: str, lane: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(lane.encode(), path)
        except OSError:  # no engine, or one too busy to read: its tick finds what is due
            return


def _locked(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise EngineTaken(
            f"Postroom already runs on the data folder {path.parent}. Stop it first. To run in several "
            "processes or on several machines, stop it, move to PostgreSQL with `postroom migrate-store --to "
            "postgresql://user:password@host/name`, and set DATABASE_URL to that."
        ) from None
    return file
