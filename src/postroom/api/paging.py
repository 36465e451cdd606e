"""Cursor paging: `next_cursor` of a page leads to the one after it, also while new rows come in."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

from django.db.models import Model, QuerySet

from postroom.api.problems import Problem

Row = TypeVar("Row", bound=Model)
DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200


def page_of(rows: QuerySet[Row], cursor: str, limit: int) -> tuple[list[Row], str | None]:
    """The next rows, newest first, and the cursor of the page after them (None: there is none)."""
    if cursor:
        rows = rows.filter(pk__lt=_read(cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    return found[:limit], _write(found[limit - 1].pk) if len(found) > limit else None


def _write(pk: int) -> str:
    return base64.urlsafe_b64encode(f"before:{pk}".encode()).decode().rstrip("=")


def _read(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Problem("cursor_malformed", "This is not a cursor of this API.") from error
    word, _, number = text.partition(":")
    if word != "before" or not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise Problem("cursor_malformed", "This is not a cursor of this API.")
    return int(number)
