"""Pages of a list that is ordered by id: each page says where the next one begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet

T = TypeVar("T", bound=Model)
SIZE = 50


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some rows, newest first; `before` begins the next slice, None if this is the last."""

    rows: list[T]
    before: int | None


def newest_first(rows: QuerySet[T], before: str | None, size: int = SIZE) -> Slice[T]:
    """The `size` newest rows older than the id `before` (anything that is no number means: from the top)."""
    found: list[Any] = list(older(rows, before).order_by("-pk")[: size + 1])
    return Slice(found[:size], found[size - 1].pk if len(found) > size else None)


def older(rows: QuerySet[T], before: str | None) -> QuerySet[T]:
    """The rows older than the id `before`; all of them if that is no number."""
    if before and before.isdecimal() and len(before) < 19:
        return rows.filter(pk__lt=int(before))
    return rows
