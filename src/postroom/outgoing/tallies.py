"""Moves between the counts of a message; always in the transaction that moves the Emails."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from django.db import connection

from postroom.outgoing.dialects import among
from postroom.outgoing.models import State, Tally

IGNORED = "ignored"


class Move(NamedTuple):
    """One Email of a message leaves one count for another: a state's name, or "ignored"."""

    message_id: int
    before: str
    after: str


def count_of(state: str, *, is_ignored: bool = False) -> str:
    """The count an Email belongs to: its state, or "ignored" for a Delivery Failed that was ignored."""
    return IGNORED if is_ignored and state == State.FAILED else str(state)


def move(moves: Iterable[Move]) -> None:
    """Add the moves up and write one UPDATE for all messages that change by the same amounts.

    Call it inside the transaction that changes the Emails, after they are locked.
    """
    changes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (message_id, before, after), count in Counter(moves).items():
        changes[message_id][before] -= count
        changes[message_id][after] += count
    _lock(sorted(changes))
    together: defaultdict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for message_id, change in changes.items():
        together[tuple(sorted((name, by) for name, by in change.items() if by))].append(message_id)
    for change_of_all, message_ids in together.items():
        _add(change_of_all, message_ids)


def _add(change: tuple[tuple[str, int], ...], message_ids: list[int]) -> None:
    amounts = ", ".join(f"{name}_count = {name}_count + %s" for name, _ in change)
    condition, numbers = among("message_id", message_ids)
    if amounts:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE postroom_tally SET {amounts} WHERE {condition}", [*(by for _, by in change), numbers]
            )


def _lock(message_ids: list[int]) -> None:
    """Lock in the order of ids, so that two workers never wait for each other. SQLite has one writer."""
    if not connection.features.has_select_for_update:
        return
    list(Tally.objects.select_for_update().filter(pk__in=message_ids).order_by("pk").values_list("pk"))
