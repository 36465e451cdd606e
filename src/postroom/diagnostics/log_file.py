"""Lines into `postroom.log`, by several processes at once, with a new file every day.

Every write happens under a lock of the folder (`flock` on `.rotation`): so the file is changed for a new one
between two writes, never under one, and what a killed process left of its last line is cut off by the next
writer, or ended by one that does not get the lock. No write waits long for that lock, and none raises: mail
goes on whatever becomes of its log.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from postroom.diagnostics import log_days
from postroom.diagnostics.log_days import CURRENT, PREVIOUS

LOCK = ".rotation"
PATIENCE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 0.005
_TAIL_OCTETS = 65536
Head = Callable[[date, float], str]


class LogFile:
    """The log of one folder, as one process writes it. Its methods may be called from any thread.

    `head` gives the line with which a file begins (of its day, at a time), `gap` the line that says how many
    were lost. `on_new` is called after a new file was begun or found, while nothing is locked any more.
    """

    def __init__(
        self,
        folder: Path,
        *,
        head: Head,
        gap: Callable[[int, float], str],
        clock: Callable[[], float] = time.time,
        on_new: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.path = folder / CURRENT
        self.head, self.gap, self.clock, self.on_new = head, gap, clock, on_new
        self.missed_count = 0
        self._turn = threading.Lock()
        self._file = self._lock = -1
        self._ends_at = 0.0
        self._is_patient = True
        self._is_complaint_said = False
        self._is_new = False

    def write(self, lines: str) -> bool:
        """Add whole lines, each with its line end, in one write; False if they are lost."""
        octets = lines.encode("utf-8", "backslashreplace")
        with self._turn:
            is_written = self._try_to_write(octets)
            is_new, self._is_new = self._is_new, False
        if is_new:
            self.on_new()
        return is_written

    def close(self) -> None:
        """Let the file go; the next write opens it again."""
        with self._turn:
            for descriptor in (self._file, self._lock):
                if descriptor >= 0:
                    os.close(descriptor)
            self._file = self._lock = -1

    def _try_to_write(self, octets: bytes) -> bool:
        try:
            self._write(octets)
        except OSError as error:  # a full disk, a folder that went away: mail must not stop for its log
            self.missed_count += octets.count(b"\n")
            self._complain(error)
            return False
        return True

    def _write(self, octets: bytes) -> None:
        is_alone = self._take_lock()
        try:
            now = self.clock()
            self._be_current(now, is_alone=is_alone)
            if self.missed_count:
                octets = self.gap(self.missed_count, now).encode() + octets
            if not is_alone and not self._is_whole():
                octets = b"\n" + octets
            self._append(octets, is_alone=is_alone)
            self.missed_count, self._is_complaint_said = 0, False
        finally:
            if is_alone:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _take_lock(self) -> bool:
        """Wait a moment for the folder; False if somebody keeps it, who may be stopped or hang.

        Whoever was not let in once waits no more until the lock is free again.
        """
        if self._lock < 0:
            self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until, pause = time.monotonic() + (PATIENCE_SECONDS if self._is_patient else 0.0), 0.0001
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    self._is_patient = False
                    return False
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                self._is_patient = True
                return True

    def _be_current(self, now: float, *, is_alone: bool) -> None:
        """Have the file open that lines go into now; only who is alone may change which one that is."""
        if self._file < 0 or not self._is_in_place():
            self._open(now)
        if not is_alone:
            return
        if self._without_cut_line() == 0:
            self._begin(now)
        if now >= self._ends_at:
            self._rotate(now)

    def _is_in_place(self) -> bool:
        """Is what we hold still what the name leads to? Somebody else may have begun a new file."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._file)
        return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)

    def _open(self, now: float) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o600)
        self._is_new = True
        self._ends_at = self._end(log_days.day_in(self.path) or log_days.day_of(now), now)

    def _end(self, day: date, now: float) -> float:
        """When a file of that day is full; one from the future, by a clock that was wrong, is so at once."""
        is_from_afar = day > log_days.day_of(now) + timedelta(days=1)
        return now if is_from_afar else log_days.end_of(day)

    def _is_whole(self) -> bool:
        """Is the file empty, or does it end in a line end?"""
        size = os.fstat(self._file).st_size
        return size == 0 or os.pread(self._file, 1, size - 1) == b"\n"

    def _without_cut_line(self) -> int:
        """Cut off what a killed process left behind the last line end; return the size of what is whole."""
        size = os.fstat(self._file).st_size
        if self._is_whole():
            return size
        whole = size
        while whole:
            start = max(0, whole - _TAIL_OCTETS)
            end = os.pread(self._file, whole - start, start).rfind(b"\n")
            if end >= 0:
                whole = start + end + 1
                break
            whole = start
        os.ftruncate(self._file, whole)
        return whole

    def _begin(self, now: float) -> None:
        """The first line says which day it is: no machine whose clock is late takes it for an older one."""
        day, before = log_days.day_of(now), log_days.day_in(self.folder / PREVIOUS)
        if before == day:  # a rotation was cut off, and our clock is behind that of who began it
            day += timedelta(days=1)
        self._append(self.head(day, now).encode(), is_alone=True)
        self._ends_at = self._end(day, now)

    def _rotate(self, now: float) -> None:
        """Three steps. Each may be the last one of this process: the next writer goes on from there."""
        previous = self.folder / PREVIOUS
        try:
            if previous.exists():
                day = log_days.day_in(previous) or log_days.day_of(previous.stat().st_mtime)
                previous.rename(log_days.free_name(self.folder, day))
            self.path.rename(previous)
        except OSError as error:
            self._ends_at = now + 60  # what was being written goes on being written
            self._complain(error)
            if self._is_in_place():
                return
        self._open(now)
        self._begin(now)

    def _append(self, octets: bytes, *, is_alone: bool) -> None:
        """All or nothing, where nobody else writes meanwhile."""
        size = os.fstat(self._file).st_size if is_alone else -1
        written = os.write(self._file, octets)
        if written == len(octets):
            return
        if is_alone:
            os.ftruncate(self._file, size)
        raise OSError(f"Only {written} of {len(octets)} octets found room")

    def _complain(self, error: OSError) -> None:
        """Once, until it works again."""
        if not self._is_complaint_said:
            self._is_complaint_said = True
            sys.stderr.write(
                f"The log in {self.folder} cannot be written: {error}. Mail goes on. Make room, or give "
                "this user the right to write.\n"
            )
