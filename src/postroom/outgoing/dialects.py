"""What bare statements say differently to PostgreSQL and to SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from django.db import OperationalError, connection
from django.utils.dateparse import parse_datetime


def is_postgres() -> bool:
    """Does this thread speak to PostgreSQL?"""
    return connection.vendor == "postgresql"


def among(column: str, numbers: Sequence[int]) -> tuple[str, Any]:
    """A condition that a column is one of these numbers, as one parameter however many they are."""
    if is_postgres():
        return f"{column} = ANY(%s)", list(numbers)
    return f"{column} IN (SELECT value FROM json_each(%s))", json.dumps(numbers)


def now_sql() -> str:
    """The database's own time."""
    return "statement_timestamp()" if is_postgres() else "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def database_time() -> datetime:
    """The database's own time, aware."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_sql()}", [])
        now: datetime = aware(cursor.fetchone()[0])
    return now


def wait_for_locks(seconds: int) -> None:
    """In this transaction, wait for no lock any longer (PostgreSQL; on SQLite there is the one writer)."""
    if is_postgres():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{seconds:d}s'")


def is_lock_timeout(error: OperationalError) -> bool:
    """Did it wait for a lock that somebody else kept for too long?"""
    return getattr(error.__cause__, "sqlstate", "") == "55P03"


def as_stored(time: datetime) -> Any:
    """A time as a bare statement takes it."""
    return time if is_postgres() else connection.ops.adapt_datetimefield_value(time)


def instant(column: str) -> str:
    """A column of times, as `aware` reads it: on PostgreSQL seconds, which are read faster than text.

    They are exact to the microsecond until the year 2242.
    """
    return f"CAST(EXTRACT(EPOCH FROM {column}) AS double precision)" if is_postgres() else column


def aware(value: Any) -> Any:
    """A time as a bare statement gives it: text on SQLite, or what `instant` gives; None stays None."""
    if isinstance(value, float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        value = parse_datetime(value)
    return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def as_date(value: Any) -> date | None:
    """A date as a bare statement gives it: text on SQLite."""
    return date.fromisoformat(value) if isinstance(value, str) else value
