"""Moves between the counts of a message; always in the transaction that moves the Emails."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from django.db import connection
from django.db.models import F

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
    for message_id, before, after in moves:
        changes[message_id][before] -= 1
        changes[message_id][after] += 1
    _lock(sorted(changes))
    together: defaultdict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
    for message_id, change in changes.items():
        together[tuple(sorted((name, by) for name, by in change.items() if by))].append(message_id)
    for change_of_all, message_ids in together.items():
        amounts = {f"{name}_count": F(f"{name}_count") + by for name, by in change_of_all}
        if amounts:
            Tally.objects.filter(pk__in=message_ids).update(**amounts)


def _lock(message_ids: list[int]) -> None:
    """Lock in the order of ids, so that two workers never wait for each other. SQLite has one writer."""
    if not connection.features.has_select_for_update:
        return
    list(Tally.objects.select_for_update().filter(pk__in=message_ids).order_by("pk").values_list("pk"))
