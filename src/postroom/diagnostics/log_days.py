"""The log folder: one file a day from 05:00 UTC, the two newest plain, older ones dated and compressed.

`postroom.log` is being written, `postroom.log.1` is the one before. What came before that is named by the day
on which it began (`postroom.log.2026-11-19.gz`; a second one of the same day has `.2` after its date).
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

CURRENT = "postroom.log"
PREVIOUS = "postroom.log.1"
TIDYING = ".tidying"
BEGINS_AT = timedelta(hours=5)
QUIET_SECONDS = 60.0
_DATED = re.compile(r"postroom\.log\.(\d{4}-\d\d-\d\d)(?:\.(\d+))?(\.gz)?")
_DAY_SAID = re.compile(rb"log_opened.{0,40}?day\"?[=:]\"?(\d{4}-\d\d-\d\d)")
_TIME_SAID = re.compile(rb"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)")
_FIRST_LINE_OCTETS = 4096


@dataclass(frozen=True, slots=True)
class Kept:
    """One file of the log. `day` is the one on which it began, `number` tells two of a day apart."""

    path: Path
    day: date
    number: int = 1
    is_packed: bool = False


def day_of(at: float) -> date:
    """The day of the log to which a time (seconds since 1970) belongs: from 05:00 to 05:00 UTC."""
    return (datetime.fromtimestamp(at, UTC) - BEGINS_AT).date()


def end_of(day: date) -> float:
    """When a day of the log is over, in seconds since 1970."""
    begun = datetime.combine(day, time(), UTC) + BEGINS_AT
    return (begun + timedelta(days=1)).timestamp()


def day_in(path: Path) -> date | None:
    """The day on which a plain file began: as its first line says, or by its time; None if neither."""
    try:
        with path.open("rb") as file:
            first = file.read(_FIRST_LINE_OCTETS).split(b"\n", 1)[0]
    except OSError:
        return None
    with contextlib.suppress(ValueError):  # digits that are no date
        if said := _DAY_SAID.search(first):
            return date.fromisoformat(said[1].decode())
        if dated := _TIME_SAID.search(first[:200]):
            at = datetime.fromisoformat(f"{dated[1].decode()}T{dated[2].decode()}+00:00")
            return day_of(at.timestamp())
    return None


def kept_in(folder: Path) -> list[Kept]:
    """The files of the log, oldest first. One that is there twice, plain and compressed, is named once."""
    dated: dict[tuple[date, int], Kept] = {}
    for path in sorted(folder.glob(f"{CURRENT}.*")):
        found = _dated(path)
        if found is not None and (found.is_packed or (found.day, found.number) not in dated):
            dated[found.day, found.number] = found
    older = sorted(dated.values(), key=lambda each: (each.day, each.number))
    return [*older, *(each for each in map(_plain, (folder / PREVIOUS, folder / CURRENT)) if each)]


def _dated(path: Path) -> Kept | None:
    found = _DATED.fullmatch(path.name)
    if found is None:
        return None
    try:
        return Kept(path, date.fromisoformat(found[1]), int(found[2] or 1), is_packed=bool(found[3]))
    except ValueError:
        return None


def _plain(path: Path) -> Kept | None:
    try:
        changed_at = path.stat().st_mtime
    except OSError:
        return None
    return Kept(path, day_in(path) or day_of(changed_at))


def free_name(folder: Path, day: date) -> Path:
    """A dated name that no file has, neither plain nor compressed."""
    number = 1
    while True:
        path = folder / (f"{CURRENT}.{day}" if number == 1 else f"{CURRENT}.{day}.{number}")
        if not path.exists() and not path.with_name(f"{path.name}.gz").exists():
            return path
        number += 1


def tidy(folder: Path, *, days: int, now: float, quiet_seconds: float = QUIET_SECONDS) -> None:
    """Compress what is dated, and remove what is older than `days`. Only one at a time does it.

    A compressed file takes its name when it is whole and on the disk; only then its plain one goes. What is
    cut off in between is done again the next time. Raises OSError.
    """
    with _alone(folder / TIDYING) as is_alone:
        if not is_alone:
            return
        for path in sorted(folder.glob(f"{CURRENT}.*.part")):
            path.unlink(missing_ok=True)
        for path in sorted(folder.glob(f"{CURRENT}.*")):
            found = _dated(path)
            if found is not None and not found.is_packed:
                _pack(path, now=now, quiet_seconds=quiet_seconds)
        for kept in kept_in(folder):
            if kept.path.name not in (CURRENT, PREVIOUS) and _is_over(kept, days, now):
                kept.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _pack(path: Path, *, now: float, quiet_seconds: float) -> None:
    packed = path.with_name(f"{path.name}.gz")
    if packed.exists():  # whole, since it has its name: only the removal of the plain one was cut off
        path.unlink(missing_ok=True)
        return
    before = path.stat()
    if now - before.st_mtime < quiet_seconds:  # somebody who was asleep may still be writing into it
        return
    part = path.with_name(f"{path.name}.gz.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        with path.open("rb") as plain, gzip.GzipFile(path.name, "wb", 6, raw, before.st_mtime) as file:
            shutil.copyfileobj(plain, file, 1024 * 1024)
        raw.flush()
        os.fsync(raw.fileno())
    os.utime(part, (before.st_atime, before.st_mtime))
    if path.stat().st_size == before.st_size:
        part.rename(packed)
        path.unlink()
    else:
        part.unlink()


def _is_over(kept: Kept, days: int, now: float) -> bool:
    """By the day of its last line, not of its first: the file of a server that slept spans many days."""
    try:
        last = max(kept.day, day_of(kept.path.stat().st_mtime))
    except OSError:
        return False
    return (day_of(now) - last).days > days
