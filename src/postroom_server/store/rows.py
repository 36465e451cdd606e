"""Rows in their neutral form: what JSON can say, the same for the same row on every database.

A time is UTC with microseconds and a Z, a date as in RFC 3339, octets are base64, and JSON stands as it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from postroom_server.store.tables import Kind

Row = list[Any]
Turn = Callable[[Any], Any]


def line(row: Row) -> bytes:
    """The one line that stands for a row; equal rows have equal lines."""
    return json.dumps(row, separators=(",", ":"), sort_keys=True).encode("ascii") + b"\n"


def of_lines(octets: bytes) -> Iterator[Row]:
    """The rows of some lines. Raises ValueError for what is no line."""
    for each in octets.splitlines():
        row = json.loads(each)
        if not isinstance(row, list):
            raise ValueError("A row is a list.")
        yield row


class Digest:
    """Counts the rows of a table and digests their lines, in the order of their key."""

    def __init__(self) -> None:
        self.count = 0
        self._whole = hashlib.sha256()

    def add(self, lines: bytes, count: int) -> None:
        """Take some lines in."""
        self._whole.update(lines)
        self.count += count

    @property
    def text(self) -> str:
        """SHA-256 in hexadecimal digits."""
        return self._whole.hexdigest()


def digest_of(rows: Iterable[Row]) -> Digest:
    """The digest of all these rows."""
    digest = Digest()
    for row in rows:
        digest.add(line(row), 1)
    return digest


def turner(kinds: Sequence[Kind], turns: dict[Kind, Turn]) -> Callable[[Sequence[Any]], Row]:
    """A function that turns every value of a row by its kind; None stays None."""
    wanted = [(place, turns[kind]) for place, kind in enumerate(kinds) if kind in turns]

    def turned(values: Sequence[Any]) -> Row:
        row = list(values)
        for place, turn in wanted:
            if row[place] is not None:
                row[place] = turn(row[place])
        return row

    return turned


def plain_time(value: datetime) -> str:
    """The neutral form of a time; one without a zone is UTC, as SQLite keeps it."""
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat(timespec="microseconds") + "Z"


def plain_octets(value: bytes | memoryview) -> str:
    """The neutral form of octets."""
    return base64.b64encode(value).decode("ascii")


FROM_SQLITE: dict[Kind, Turn] = {
    Kind.TIME: lambda text: plain_time(datetime.fromisoformat(text)),
    Kind.YES_OR_NO: bool,
    Kind.FRACTION: float,
    Kind.TEXT: str,
    Kind.JSON: json.loads,
    Kind.OCTETS: plain_octets,
}


def _sqlite_time(plain: str) -> str:
    """As Django writes it there: without a zone, and without a fraction that is nought."""
    return plain.removesuffix("Z").replace("T", " ").removesuffix(".000000")


TO_SQLITE: dict[Kind, Turn] = {
    Kind.TIME: _sqlite_time,
    Kind.YES_OR_NO: int,
    Kind.JSON: json.dumps,
    Kind.OCTETS: base64.b64decode,
}
FROM_POSTGRES: dict[Kind, Turn] = {
    Kind.TIME: plain_time,
    Kind.DATE: date.isoformat,
    Kind.FRACTION: lambda value: value + 0.0,  # SQLite knows no negative nought
    Kind.OCTETS: plain_octets,
}
TO_POSTGRES: dict[Kind, Turn] = {Kind.JSON: json.dumps, Kind.OCTETS: base64.b64decode}
