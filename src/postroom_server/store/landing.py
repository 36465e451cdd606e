"""An empty data folder that a backup is restored into: all of it is there at the end, or nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from postroom_server import folder as folders
from postroom_server.store import archive
from postroom_server.store.manifest import KEYS
from postroom_server.store.refusals import StoreRefused

#: In the order in which they are taken over: a database without its keys is never there.
_TAKEN_OVER = ("storage", "secret.key", "postroom.sqlite3")
_LOCK = "lock"


@contextlib.contextmanager
def landing_place(folder: Path) -> Iterator[Path]:
    """A folder inside an empty data folder to restore into; what was not taken over is removed again.

    While it is there nothing starts on the data folder. Raises StoreRefused unless the folder is empty or
    holds only what a restore left that was killed.
    """
    is_new = not folder.exists()
    _refuse_unless_empty(folder)
    place = folder / folders.RESTORING
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place / _LOCK).open("w") as lock:
        _lock(lock, folder)
        try:
            folder.chmod(0o700)
            _clear(folder, place)
            yield place
        except BaseException:  # refused, interrupted, or a defect: nothing half done stays
            _clear(folder, place)
            _remove(place, is_with_folder=is_new)
            raise
        _remove(place)


def _remove(place: Path, *, is_with_folder: bool = False) -> None:
    shutil.rmtree(place)
    if is_with_folder:
        place.parent.rmdir()


def take_over(place: Path) -> None:
    """All of it is whole: give it its names in the data folder, and have them on the disk."""
    os.sync()
    for name in _TAKEN_OVER:
        if (place / name).exists():
            (place / name).rename(place.parent / name)
    os.sync()


def _refuse_unless_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreRefused(f"{folder} is a file. Name a folder with --data.")
    held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if held and not (folders.RESTORING in held and held <= {folders.RESTORING, *_TAKEN_OVER}):
        raise StoreRefused(
            f"{folder} is not empty (it holds {sorted(held)[0]}), and nothing is overwritten. "
            "Name a new or an empty folder with --data."
        )


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreRefused(f"Another restore into {folder} runs. Wait for it, or name another.") from error


def _clear(folder: Path, place: Path) -> None:
    """Remove what a restore has put here so far; nothing else can be here, as nothing starts meanwhile."""
    left = [path for path in place.iterdir() if path.name != _LOCK]
    for path in (*left, *(folder / name for name in _TAKEN_OVER)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Say it in words where the disk is full. Raises StoreRefused."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StoreRefused(f"There is no room in {folder} ({error.strerror}). Make room there.") from error


def keys_in(path: Path) -> str:
    """The text of the secret keys inside a backup; empty if they are not."""
    with archive.members(path) as found:
        for name, file in found:
            if name == KEYS:
                try:
                    return file.read().decode("ascii")
                except UnicodeDecodeError as error:
                    raise StoreRefused(
                        f"{KEYS} of this backup has no keys: name them with --keys."
                    ) from error
    return ""
