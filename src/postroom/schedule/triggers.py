"""What makes an action run before its next call is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q

from postroom import engine
from postroom.schedule.catalogue import SLOW
from postroom.schedule.clock import clock
from postroom.schedule.models import ScheduledAction, Trigger

LANE = "actions:"
SLOW_LANE = "slow-actions:"
MINUTE = timedelta(minutes=1)
STALE_AFTER = timedelta(days=7)


def trigger(workspace_id: int, key: str, at: datetime | None = None, *, by_hand: bool = False) -> None:
    """Let the workspace's action run at `at` (None: now), once for however many have asked by then.

    A time to come is rounded up to the full minute, so that the run finds what was due at it. An action that
    is switched off ignores a trigger for now unless it was set by hand, and keeps one for later in case it
    is on by then. Call it in the transaction that makes the work: the run that uses it up sees the work. It
    waits for nobody and keeps nobody waiting, however long that transaction stays open.
    """
    found = ScheduledAction.objects.filter(workspace_id=workspace_id, key=key).values_list("pk", "is_active")
    now = clock()
    for pk, is_active in found:
        if is_active or by_hand or (at is not None and at > now):
            Trigger.objects.create(action_id=pk, at=minute_of(at, now), is_by_hand=by_hand, created_at=now)
            transaction.on_commit(partial(wake, key))


def minute_of(at: datetime | None, now: datetime) -> datetime:
    """The full minute a trigger counts for: this one for what is due, the next full one for what comes."""
    due = now if at is None or at < now else at
    minute = due.astimezone(UTC).replace(second=0, microsecond=0)
    return minute if due <= now or due == minute else minute + MINUTE


def lane_of(key: str) -> str:
    """The lane on which an action runs: what is slow has one of its own, and nothing waits behind it."""
    return SLOW_LANE if key in SLOW else LANE


def wake(key: str) -> None:
    """Let whoever runs this action look now."""
    engine.wake(lane_of(key))


def is_due(now: datetime) -> Q:
    """Triggers that let their action run: those of an action that is on, and those set by hand."""
    return Q(at__lte=now) & (Q(is_by_hand=True) | Q(action__is_active=True))


def drop_stale(now: datetime) -> int:
    """Drop what has been due for a week while its action was switched off. Returns how many went."""
    return Trigger.objects.filter(at__lt=now - STALE_AFTER, action__is_active=False).delete()[0]
