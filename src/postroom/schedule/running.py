"""Who has an action in hand, and what became of its run. Every function is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.db import transaction
from django.db.models import Min, Q, QuerySet
from django.utils.translation import gettext_noop

from postroom.schedule import triggers
from postroom.schedule.clock import clock
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.order import in_turn
from postroom.schedule.planning import bring_forward, call_after, too_far_ahead

LEASE = timedelta(seconds=60)
LOST_ARE_A_FAILURE = 3
FAILURES_BEFORE_OFF = 5
FAILING_BEFORE_OFF = timedelta(days=7)
NEVER_CAME_BACK = gettext_noop("It was begun three times in a row and never came back.")
Result = ScheduledAction.Result


class Cause(StrEnum):
    """Why a run began: its time, a trigger, a person, or that the run before left something over."""

    TIME = "time"
    TRIGGER = "trigger"
    HAND = "hand"
    UNFINISHED = "unfinished"


class Taken(NamedTuple):
    """An action in hand, and why."""

    action: ScheduledAction
    cause: Cause


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `error` is one line for people, "" if it did not fail."""

    result: str
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


def due(keys: Collection[str], now: datetime) -> QuerySet[ScheduledAction]:
    """Actions that nobody has in hand and that are to run."""
    triggered = Trigger.objects.filter(triggers.is_due(now)).values("action")
    is_due = Q(is_active=True, next_call_at__lte=now) | Q(is_unfinished=True) | Q(pk__in=triggered)
    return ScheduledAction.objects.filter(is_due, lease="", key__in=keys)


def take(lease: str, keys: Collection[str], now: datetime | None = None) -> Taken | None:
    """Take the next due action in hand for `LEASE`; None if nothing is due, or others have it.

    Workspaces take turns (`order.in_turn`). Only one of all takers of all machines gets an action, and what
    somebody has locked is passed over. Its due triggers are used up: this run is the one they asked for.
    `keys` are those that the taker can do; `now` None is the present.
    """
    now = now or clock()
    for pk in in_turn(keys, now):
        with transaction.atomic():
            rows = ScheduledAction.objects.filter(pk=pk, lease="").select_related("workspace")
            action = _free(rows).first()
            cause = None if action is None else _cause(action, now)
            if action is not None and cause is not None:
                _hold(action, lease, now)
                return Taken(action, cause)
    return None


def _free(rows: QuerySet[ScheduledAction]) -> QuerySet[ScheduledAction]:
    """Rows that nobody else has locked; triggers may be added meanwhile (that is what `no_key` allows)."""
    return rows.select_for_update(of=("self",), skip_locked=True, no_key=True)


def _cause(action: ScheduledAction, now: datetime) -> Cause | None:
    """Why a locked row is due; None if another taker was through with it between our look and our lock."""
    used_up = list(Trigger.objects.filter(triggers.is_due(now), action=action).values_list("is_by_hand"))
    if (True,) in used_up:
        return Cause.HAND
    if action.is_unfinished:
        return Cause.UNFINISHED
    if action.is_active and action.next_call_at <= now:
        return Cause.TIME
    return Cause.TRIGGER if used_up else None


def _hold(action: ScheduledAction, lease: str, now: datetime) -> None:
    action.triggers.filter(at__lte=now).delete()
    action.lease, action.began_at, action.last_counts = lease, now, {}
    action.leased_until, action.is_unfinished = now + LEASE, False
    action.save(update_fields=["lease", "began_at", "last_counts", "leased_until", "is_unfinished"])


def renew(action_id: int, lease: str, counts: Mapping[str, int], now: datetime | None = None) -> bool:
    """Keep it in hand for another `LEASE` and note how far it is; False if it is ours no more."""
    now = now or clock()
    mine = ScheduledAction.objects.filter(pk=action_id, lease=lease)
    return bool(mine.update(leased_until=now + LEASE, last_counts=dict(counts)))


def finish(
    action_id: int, lease: str, outcome: Outcome, now: datetime | None = None
) -> ScheduledAction | None:
    """Write down how the run ended and when the next one is due; None if it was ours no more.

    Then this one counts as lost, another may have begun, and nothing is changed. A failure that switches the
    action off sets `deactivated_at` to `now` on the row that is returned.
    """
    now = now or clock()
    with transaction.atomic():
        mine = ScheduledAction.objects.filter(pk=action_id, lease=lease).select_related("workspace")
        action = mine.select_for_update(of=("self",), no_key=True).first()
        if action is None:
            return None
        _end(action, outcome, now)
        action.save()
    return action


def _end(action: ScheduledAction, outcome: Outcome, now: datetime) -> None:
    """The row after a run; what B.4 of the specification calls the way back to idle."""
    began_at = action.began_at or now
    action.lease, action.leased_until, action.began_at = "", None, None
    action.last_run_at, action.last_result = began_at, outcome.result
    action.last_seconds = max(0.0, (now - began_at).total_seconds())
    action.last_counts, action.timeout_count = dict(outcome.counts), 0
    if outcome.result == Result.FAILED:
        _note_failure(action, outcome.error, now)
    else:
        action.failure_count, action.failing_since, action.last_error = 0, None, ""
    if outcome.result == Result.UNFINISHED:
        action.is_unfinished = True
        return
    action.next_call_at = call_after(action, began_at)
    if outcome.result == Result.DONE:
        action.last_success_at = now


def _note_failure(action: ScheduledAction, error: str, now: datetime) -> None:
    action.failure_count += 1
    action.failing_since = action.failing_since or now
    action.last_error = error
    is_hopeless = action.failure_count >= FAILURES_BEFORE_OFF
    if action.is_active and is_hopeless and now - action.failing_since > FAILING_BEFORE_OFF:
        action.is_active, action.deactivated_at = False, now


def let_go(action: ScheduledAction) -> None:
    """End the run in hand for good: its worker stops at a safe point, and nothing goes on. Not saved."""
    if action.lease:
        action.last_run_at, action.last_seconds, action.last_result = action.began_at, None, Result.UNFINISHED
    action.lease, action.leased_until, action.began_at, action.is_unfinished = "", None, None, False


def put_right(now: datetime | None = None) -> int:
    """Bring forward the calls that a clock which was ahead has put off; return how many those were.

    Leases that reach too far are shortened. A call that somebody chose is kept however far ahead it lies.
    """
    now = now or clock()
    with transaction.atomic():
        ScheduledAction.objects.exclude(lease="").filter(leased_until__gt=now + LEASE).update(
            leased_until=now + LEASE
        )
        late = list(_free(too_far_ahead(now)).select_related("workspace").order_by("pk"))
        for action in late:
            bring_forward(action, now)
            action.save(update_fields=["next_call_at", "anchor_at"])
    return len(late)


def recover(*, is_alone: bool, now: datetime | None = None) -> list[ScheduledAction]:
    """Give back what workers that are gone had in hand; return those actions as they are now.

    `is_alone`: no other engine can have anything in hand, so that a lease need not run out. A lost run goes
    on after the others, since nobody knows how far it came. The third in a row that had not come anywhere
    is a failure: whatever kills its worker is left alone until its next time.
    """
    now = now or clock()
    with transaction.atomic():
        leased = ScheduledAction.objects.exclude(lease="").select_related("workspace")
        lost = list(_free(leased if is_alone else leased.filter(leased_until__lte=now)).order_by("pk"))
        for action in lost:
            _lose(action, now)
            action.save()
    return lost


def _lose(action: ScheduledAction, now: datetime) -> None:
    has_come_somewhere = any(action.last_counts.values())
    lost_count = 0 if has_come_somewhere else action.timeout_count + 1
    if lost_count >= LOST_ARE_A_FAILURE:
        _end(action, Outcome(Result.FAILED, action.last_counts, NEVER_CAME_BACK), now)
        action.last_seconds = None
        return
    action.lease, action.leased_until = "", None
    action.last_run_at, action.last_seconds, action.last_result = action.began_at, None, Result.LOST
    action.began_at, action.timeout_count, action.is_unfinished = None, lost_count, True


def next_at(keys: Collection[str]) -> datetime | None:
    """When the next action is due that nobody has in hand; None: nothing waits."""
    idle = ScheduledAction.objects.filter(lease="", key__in=keys)
    planned = idle.filter(is_active=True).aggregate(at=Min("next_call_at"))["at"]
    waiting = Trigger.objects.filter(
        Q(is_by_hand=True) | Q(action__is_active=True), action__lease="", action__key__in=keys
    ).aggregate(at=Min("at"))["at"]
    going_on = idle.filter(is_unfinished=True).aggregate(at=Min("last_run_at"))["at"]
    if going_on is not None:
        going_on = min(going_on, clock())  # what began by a clock that was ahead is due all the same
    return min((at for at in (planned, waiting, going_on) if at is not None), default=None)


def is_waiting(action: ScheduledAction, now: datetime | None = None) -> bool:
    """Is it to run as soon as those before it are done?"""
    return due([action.key], now or clock()).filter(pk=action.pk).exists()


def has_lost(now: datetime | None = None) -> bool:
    """Is there an action in the hands of a worker that is gone?"""
    return ScheduledAction.objects.exclude(lease="").filter(leased_until__lte=now or clock()).exists()
