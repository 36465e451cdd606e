"""What is counted and timed while it happens: in memory first, then added to the tables every few seconds.

Counting costs about a microsecond and never waits for the database. `flush` adds what came together since the
last time, so that the tables hold the sums of all stations and outlive every one of them. A process that is
killed takes what it counted since its last flush (ten seconds at most) with it; the mail itself is not
counted here but in its own rows, and loses nothing.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter as Sums
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from django.db import connection, transaction

PIECE_SECONDS = 300
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
"""The upper bounds of the histograms, in seconds; the last one, +Inf, is implied."""

LONGEST_LABEL = 80
_LONGEST_SERIES = 250
_ROWS_A_STATEMENT = 100

Labels = tuple[tuple[str, str], ...]
_Timings = tuple[Sums[int], float]  # how many in which bucket, and the seconds of all together

_lock = threading.Lock()
_counts: Sums[tuple[str, Labels]] = Sums()
_timings: dict[tuple[str, Labels], _Timings] = {}
_pieces: Sums[tuple[int, str, str]] = Sums()


def count(name: str, labels: Mapping[str, str], n: float = 1) -> None:
    """Count n more of a metric whose name ends in `_total`. Safe from every thread."""
    key = (name, tuple(labels.items()))
    with _lock:
        _counts[key] += n  # type: ignore[assignment]


def observe(name: str, labels: Mapping[str, str], seconds: float) -> None:
    """Note how long something took, in a histogram. Safe from every thread."""
    observe_all(name, labels, (seconds,))


def observe_all(name: str, labels: Mapping[str, str], seconds: Iterable[float]) -> None:
    """The same for a whole group. What is below nothing (clocks differ) counts as nothing."""
    taken = [max(0.0, each) for each in seconds]
    places = Sums(bisect_left(BUCKETS, each) for each in taken)
    key = (name, tuple(labels.items()))
    with _lock:
        before, total = _timings.get(key, (Sums(), 0.0))
        _timings[key] = (before + places, total + sum(taken))


def chart(name: str, label: str, n: float = 1) -> None:
    """Count n more in the piece of time that is now, for the charts. Safe from every thread."""
    key = (int(time.time()) // PIECE_SECONDS * PIECE_SECONDS, name[:40], label[:100])
    with _lock:
        _pieces[key] += n  # type: ignore[assignment]


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
        for key, (places, total) in timings.items():
            since, more = _timings.get(key, (Sums(), 0.0))
            _timings[key] = (since + places, total + more)


def _add_counters(
    counts: Mapping[tuple[str, Labels], float], timings: Mapping[tuple[str, Labels], _Timings]
) -> None:
    sums: Sums[str] = Sums()
    for (name, labels), n in counts.items():
        sums[series(name, labels)] += n  # type: ignore[assignment]
    for (name, labels), timed in timings.items():
        sums.update(_histogram(name, labels, *timed))
    # In one order, so that two stations never wait for each other.
    rows = sorted((each, n) for each, n in sums.items() if len(each) <= _LONGEST_SERIES)
    _upsert("postroom_counter", ("series", "value"), ("series",), rows)


def _histogram(name: str, labels: Labels, places: Sums[int], total: float) -> Mapping[str, float]:
    """The rows of a histogram, as Prometheus counts it: each bucket holds all that are not above it."""
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    upto = list(accumulate(places[place] for place in range(len(bounds))))
    rows: dict[str, float] = {
        series(f"{name}_bucket", (*labels, ("le", bound))): n
        for bound, n in zip(bounds, upto, strict=True)
        if n
    }
    return {**rows, series(f"{name}_sum", labels): total, series(f"{name}_count", labels): upto[-1]}


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
