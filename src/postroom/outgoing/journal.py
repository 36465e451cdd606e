"""What one worker began and what was answered, noted around every final dot.

A note goes into a page of the file that is mapped into memory, without a system call and without fsync: a
killed process loses nothing, because the page is the kernel's, and after a crash of the machine the journal
counts only for the replies it holds. The open file is locked, so that a journal whose lock can be taken
belongs to a worker that is gone.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from postroom.wire.reply import EnhancedStatus, Reply

SUFFIX = ".journal"
ASIDE = ".set-aside"
PAGE_OCTETS = 16 * mmap.ALLOCATIONGRANULARITY


class Try(NamedTuple):
    """One attempt of one Email."""

    email_id: int
    number: int


@dataclass(frozen=True, slots=True)
class Notes:
    """What a journal says of a lease.

    `is_complete` is False after a crash of the machine: then what is not noted may still have happened.
    """

    lease: str
    is_complete: bool
    begun: frozenset[Try] = frozenset()
    replies: dict[Try, Reply] = field(default_factory=dict)


class Journal:
    """The journal of one lease; made before anything is claimed, removed once all is settled."""

    def __init__(self, folder: Path, lease: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.lease = lease
        self.path = folder / f"{lease}{SUFFIX}"
        unseen = (
            folder / f"{lease}.new"
        )  # it gets its name once it is locked, so nobody takes it for left behind
        self._file = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._length = 0
        self._page: mmap.mmap | None = None
        self._write(f"{json.dumps({'lease': lease, 'boot': boot_id()})}\n".encode())
        unseen.rename(self.path)

    def begun(self, email_id: int, number: int) -> None:
        """Note that content with its final dot is about to leave. Raises OSError if that cannot be noted."""
        self._write(b"B %d %d\n" % (email_id, number))

    def replied(self, email_id: int, number: int, reply: Reply) -> None:
        """Note what answered the final dot. Raises OSError if that cannot be noted."""
        said = f'[{reply.code}, "{reply.enhanced or ""}", {json.dumps(reply.text)}]'
        self._write(b"R %d %d %b\n" % (email_id, number, said.encode()))

    def _write(self, line: bytes) -> None:
        page = self._page
        if page is None or page.tell() + len(line) > len(page):
            page = self._next_page(len(line))
        page.write(line)

    def _next_page(self, least: int) -> mmap.mmap:
        """Add octets to the file and map them; written first, so that a full disk is an OSError here."""
        length = PAGE_OCTETS * (1 + least // PAGE_OCTETS)
        if os.pwrite(self._file, bytes(length), self._length) != length:
            raise OSError(f"The journal {self.path} could not be written; is the disk full?")
        page = mmap.mmap(self._file, length, offset=self._length)
        self._end_page()
        self._page, self._length = page, self._length + length
        return page

    def _end_page(self) -> None:
        if self._page is not None:
            self._page.write(b"\n" * (len(self._page) - self._page.tell()))
            self._page.close()
            self._page = None

    def close(self) -> None:
        """Give the lock up and leave the file for recovery."""
        self._end_page()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Everything is settled: the journal is of no more use."""
        self.path.unlink(missing_ok=True)
        self.close()


class Left:
    """A journal whose worker is gone, held under its lock while its lease is recovered."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file

    @cached_property
    def notes(self) -> Notes:
        """What it says. Raises ValueError, KeyError or TypeError if that cannot be made out."""
        return _read(self.path)

    def remove(self) -> None:
        """Its lease is settled; `close` it, too."""
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Give it a name under which nobody looks for it, and return that; `close` it, too."""
        return self.path.rename(self.path.with_name(self.path.name + ASIDE))

    def close(self) -> None:
        """Give the lock up; the file stays."""
        os.close(self._file)


def is_live(folder: Path, lease: str) -> bool:
    """Is a worker with this lease running on this machine?"""
    left = take(folder / f"{lease}{SUFFIX}")
    if left is None:
        return (folder / f"{lease}{SUFFIX}").exists()
    left.close()
    return False


def left_behind(folder: Path) -> Iterator[Left]:
    """The journals of workers that are gone, one after the other, each locked for the caller."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        left = take(path)
        if left is not None:
            yield left


def take(path: Path) -> Left | None:
    """Lock a journal whose worker is gone; None if it is alive, or if there is no such journal."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return Left(path, file)


def _read(path: Path) -> Notes:
    """Read what was noted; a line that is not whole (killed while it was written) counts as not written."""
    head, *lines = path.read_bytes().split(b"\n")
    try:
        known = json.loads(head)
    except ValueError:
        return Notes(path.name.removesuffix(SUFFIX), is_complete=False)
    begun: set[Try] = set()
    replies: dict[Try, Reply] = {}
    for line in lines[:-1]:
        if line and b"\0" not in line:
            _take_in(line, begun, replies)
    is_same_boot = bool(known["boot"]) and known["boot"] == boot_id()
    return Notes(known["lease"], is_same_boot, frozenset(begun), replies)


def _take_in(line: bytes, begun: set[Try], replies: dict[Try, Reply]) -> None:
    kind, email_id, number, *said = line.split(b" ", 3)
    one = Try(int(email_id), int(number))
    if kind == b"B":
        begun.add(one)
    else:
        code, enhanced, text = json.loads(said[0])
        replies[one] = Reply(code, EnhancedStatus.parse(enhanced), text)


@cache
def boot_id() -> str:
    """What changes when the machine starts anew; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
