"""The one clock by which all machines agree on what is due and whose lease is over."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from django.utils import timezone


def clock() -> datetime:
    """The database's time; on SQLite, which is on this machine, this machine's."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        at: datetime = cursor.fetchone()[0]
        return at


def by_own_clock(at: datetime) -> datetime:
    """The moment `at` of the database's clock as this machine's clock shows it, for timers that go by it."""
    return timezone.now() + (at - clock())
