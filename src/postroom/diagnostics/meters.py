"""What is counted and timed while it happens: in memory first, then added to the tables every few seconds.

Counting costs a microsecond or two and never waits for the database. `flush` adds what came together since
the last time, so that the tables hold the sums of all stations and outlive every one of them. A process that
is killed takes what it counted since its last flush (ten seconds at most) with it; the mail itself is not
counted here but in its own rows, and loses nothing.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter as Sums
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection, transaction

PIECE_SECONDS = 300
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""The upper bounds of the histograms, in seconds; the last one, +Inf, is implied."""

LONGEST_LABEL = 80
_LONGEST_SERIES = 250
_ROWS_A_STATEMENT = 100

Labels = tuple[tuple[str, str], ...]


class _Timings(NamedTuple):
    """A histogram as Prometheus counts it: each bucket holds all that are not above its bound."""

    upto: Sequence[int]
    number: int
    seconds: float


_NO_TIMINGS = _Timings([0] * len(BUCKETS), 0, 0.0)
_lock = threading.Lock()
_counts: Sums[tuple[str, Labels]] = Sums()
_timings: dict[tuple[str, Labels], _Timings] = {}
_pieces: Sums[tuple[int, str, str]] = Sums()


def count(name: str, labels: Mapping[str, str], n: float = 1) -> None:
    """Count n more of a metric whose name ends in `_total`. Safe from every thread."""
    key = (name, tuple(labels.items()))
    with _lock:
        _counts[key] += n  # type: ignore[assignment]  # typeshed lets a Counter hold only int


def observe(name: str, labels: Mapping[str, str], seconds: float) -> None:
    """Note how long something took, in a histogram. Safe from every thread."""
    observe_all(name, labels, (seconds,))


def observe_all(name: str, labels: Mapping[str, str], seconds: Iterable[float]) -> None:
    """The same for a whole group. What is below nothing (clocks differ) counts as nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return
    if ordered[0] < 0:
        ordered = [max(0.0, each) for each in ordered]
    upto = [
        bisect_right(ordered, bound) for bound in BUCKETS
    ]  # one search a bucket, not one for each of them
    key = (name, tuple(labels.items()))
    with _lock:
        before = _timings.get(key, _NO_TIMINGS)
        counts = [a + b for a, b in zip(before.upto, upto, strict=True)]
        _timings[key] = _Timings(counts, before.number + len(ordered), before.seconds + sum(ordered))


def chart(name: str, label: str, n: float = 1) -> None:
    """Count n more in the piece of time that is now, for the charts. Safe from every thread."""
    key = (int(time.time()) // PIECE_SECONDS * PIECE_SECONDS, name[:40], label[:100])
    with _lock:
        _pieces[key] += n  # type: ignore[assignment]  # as above


def flush() -> None:
    """Add what came together since the last flush to the tables.

    Raises DatabaseError if that is not possible; nothing is then lost, and the next flush takes it along.
    """
    global _counts, _timings, _pieces
    with _lock:
        counts, timings, pieces = _counts, _timings, _pieces
        _counts, _timings, _pieces = Sums(), {}, Sums()
    try:
        with transaction.atomic():
            _add_counters(counts, timings)
            _add_samples(pieces)
    except BaseException:  # whatever it was: what was counted is not lost by it
        _take_back(counts, timings, pieces)
        raise


def forget() -> None:
    """Drop what was not flushed yet."""
    with _lock:
        _counts.clear()
        _timings.clear()
        _pieces.clear()


def piece_at(at: datetime) -> datetime:
    """When the piece of time that holds `at` begins."""
    return datetime.fromtimestamp(int(at.timestamp()) // PIECE_SECONDS * PIECE_SECONDS, UTC)


def series(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """A metric with its labels as Prometheus writes them; a label that is too long is cut."""
    written = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
    return f"{name}{{{written}}}" if written else name


def _escaped(value: str) -> str:
    shown = value[:LONGEST_LABEL].replace("\0", "")
    return shown.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _take_back(
    counts: Sums[tuple[str, Labels]],
    timings: Mapping[tuple[str, Labels], _Timings],
    pieces: Sums[tuple[int, str, str]],
) -> None:
    with _lock:
        _counts.update(counts)
        _pieces.update(pieces)
        for key, one in timings.items():
            other = _timings.get(key, _NO_TIMINGS)
            upto = [a + b for a, b in zip(one.upto, other.upto, strict=True)]
            _timings[key] = _Timings(upto, one.number + other.number, one.seconds + other.seconds)


def _add_counters(
    counts: Mapping[tuple[str, Labels], float], timings: Mapping[tuple[str, Labels], _Timings]
) -> None:
    sums: Sums[str] = Sums()
    for (name, labels), n in counts.items():
        sums[series(name, labels)] += n  # type: ignore[assignment]
    for (name, labels), timed in timings.items():
        sums.update(_histogram(name, labels, timed))
    # In one order, so that two stations never wait for each other.
    rows = sorted((each, n) for each, n in sums.items() if len(each) <= _LONGEST_SERIES)
    _upsert("postroom_counter", ("series", "value"), ("series",), rows)


def _histogram(name: str, labels: Labels, timed: _Timings) -> Mapping[str, float]:
    """The rows of a histogram; a bucket into which nothing fell yet has none."""
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    rows: dict[str, float] = {
        series(f"{name}_bucket", (*labels, ("le", bound))): n
        for bound, n in zip(bounds, [*timed.upto, timed.number], strict=True)
        if n
    }
    rows[series(f"{name}_sum", labels)] = timed.seconds
    rows[series(f"{name}_count", labels)] = timed.number
    return rows


def _add_samples(pieces: Mapping[tuple[int, str, str], float]) -> None:
    rows = [(datetime.fromtimestamp(at, UTC), name, label, n) for (at, name, label), n in pieces.items()]
    add_samples(rows)


def add_samples(rows: Iterable[tuple[datetime, str, str, float]]) -> None:
    """Add to what the charts show: (beginning of the piece, name, label, value)."""
    stored = sorted((name, label, at, value) for at, name, label, value in rows)
    columns, key = ("name", "label", "at", "value"), ("name", "label", "at")
    adapted = [(name, label, _as_stored(at), value) for name, label, at, value in stored]
    _upsert("postroom_sample", columns, key, adapted)


def _as_stored(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _upsert(
    table: str, columns: tuple[str, ...], key: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Add `value` to rows that are there, and write those that are not; one statement for all."""
    places = f"({', '.join(['%s'] * len(columns))})"
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        some = rows[start : start + _ROWS_A_STATEMENT]
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([places] * len(some))} "
                f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET value = {table}.value + excluded.value",
                [value for row in some for value in row],
            )
