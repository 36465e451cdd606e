"""Counts that stay cheap however many rows there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows: exact up to a limit, then "limit+"."""

    number: int
    is_more: bool = False

    def __bool__(self) -> bool:
        return self.number > 0

    def __str__(self) -> str:
        return f"{self.number}+" if self.is_more else str(self.number)


def count_up_to(limit: int, rows: QuerySet[Any]) -> Count:
    """Count, and stop at `limit`, so that the cost does not grow with the table."""
    number = rows.order_by()[: limit + 1].count()
    return Count(min(number, limit), number > limit)
