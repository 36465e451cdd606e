"""The newest lines of the log that fit, a page at a time, from a bounded number of octets."""

from __future__ import annotations

import contextlib
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import IO, Self

from postroom.diagnostics import log_search
from postroom.diagnostics.log_days import Kept
from postroom.diagnostics.log_search import Filter, Found, Looked, Wanted

MOST_OCTETS = 16 * 1024 * 1024
CLOCKS_DIFFER = timedelta(minutes=10)  # at most: so much out of order may the lines of several machines stand
_BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: before an octet of the file of a day (None: at its end), and in older ones.

    It is named by the day of the file, which stays the same when the file is moved on and compressed.
    """

    day: date
    number: int
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.day}.{self.number}" + ("" if self.offset is None else f":{self.offset}")

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` wrote; None for anything else."""
        file, _, offset = text.partition(":")
        day, _, number = file.partition(".")
        with contextlib.suppress(ValueError):
            return cls(date.fromisoformat(day), int(number), int(offset) if offset else None)
        return None

    @classmethod
    def of(cls, kept: Kept, offset: int | None = None) -> Self:
        """A place in this file."""
        return cls(kept.day, kept.number, offset)


@dataclass(frozen=True, slots=True)
class Page:
    """The records that fit, newest first. `next` is where older ones may be, None if all was looked at.

    `is_cut`: there may be more before the last one shown, which would have been too much to read at once.
    """

    found: Sequence[Found]
    next: Place | None
    looked: Looked
    is_cut: bool = False


def newest(
    folder: Path,
    wanted: Wanted,
    *,
    before: Place | None = None,
    size: int = 50,
    octets: int = MOST_OCTETS,
) -> Page:
    """Up to `size` records before a place (None: from the end), reading at most about `octets` of them."""
    reading = _Reading(Filter(wanted), size, octets)
    with contextlib.ExitStack() as stack:
        for kept, file in reversed(log_search.opened(folder, reading.looked, stack)):
            if before is not None and (kept.day, kept.number) > (before.day, before.number):
                continue
            is_there = before is not None and (kept.day, kept.number) == (before.day, before.number)
            end = before.offset if before is not None and is_there else None
            reading.looked.files.append(kept.path.name)
            next_at = reading.take_from(kept, file, end)
            if next_at is not None:
                return Page(reading.found, next_at, reading.looked, is_cut=reading.left <= 0)
            if reading.is_past:
                break
    return Page(reading.found, None, reading.looked)


class _Reading:
    """One page that is being put together; `left` is how many octets may still be read."""

    def __init__(self, fits: Filter, size: int, octets: int) -> None:
        self.fits, self.size, self.octets, self.left = fits, size, octets, octets
        self.found: list[Found] = []
        self.looked = Looked()
        since = fits.wanted.since
        self.ends_at = since - CLOCKS_DIFFER if since else None
        self.is_past = False  # nothing older can fit

    def _look_at(self, record: Found) -> bool:
        self.left -= len(record.text)
        self.is_past = self.ends_at is not None and record.at is not None and record.at < self.ends_at
        return self.fits(record)

    def take_from(self, kept: Kept, file: IO[bytes], end: int | None) -> Place | None:
        """Read one file; the place to go on from, None if all of it was looked at."""
        try:
            return self._packed(kept, file, end) if kept.is_packed else self._plain(kept, file, end)
        except (OSError, EOFError, zlib.error) as error:
            self.looked.unread.append((kept.path.name, str(error) or type(error).__name__))
            return None

    def _plain(self, kept: Kept, file: IO[bytes], end: int | None) -> Place | None:
        """From its end, block by block."""
        for record in _backwards(file, kept.path.name, end):
            if self._look_at(record):
                self.found.append(record)
            if self.is_past:
                return None
            if len(self.found) >= self.size or self.left <= 0:
                return Place.of(kept, record.offset)
        return None

    def _packed(self, kept: Kept, file: IO[bytes], end: int | None) -> Place | None:
        """From its beginning, for it cannot be read from its end; the last ones that fit are kept."""
        begins_past, began_with = False, self.left
        last: deque[Found] = deque(maxlen=self.size - len(self.found))
        for record in log_search.records(file, kept.path.name):
            if end is not None and record.offset >= end:
                break
            if self._look_at(record):
                last.append(record)
            begins_past = self.is_past if record.offset == 0 else begins_past
            if self.left <= 0:
                if began_with < self.octets:  # other files took most of it: this one has a page of its own
                    return Place.of(kept, end)
                self.looked.unread.append((kept.path.name, "too large"))
                break
        self.is_past = begins_past
        self.found += reversed(last)
        if len(self.found) >= self.size:
            return Place.of(kept, self.found[-1].offset)
        return Place(kept.day, kept.number - 1) if self.left <= 0 else None


def _backwards(file: IO[bytes], name: str, end: int | None) -> Iterator[Found]:
    """The records of a plain file before an octet, last one first."""
    whole = file.seek(0, 2)
    end = whole if end is None else min(end, whole)  # whoever asks may name any octet
    size = _BLOCK
    while end > 0:
        start = max(0, end - size)
        file.seek(start)
        block = file.read(end - start)
        cut = 0 if start == 0 else _first_record(block)
        if cut < 0:
            size *= 2  # one record fills all of it
            continue
        yield from reversed(list(log_search.records(BytesIO(block[cut:]), name, start + cut)))
        end, size = start + cut, _BLOCK


def _first_record(block: bytes) -> int:
    """Where the first record begins that is whole in a block; -1 if none does."""
    at = block.find(b"\n") + 1
    while at and block[at : at + 1] in (b" ", b"\t"):
        at = block.find(b"\n", at) + 1
    return at if 0 < at < len(block) else -1
