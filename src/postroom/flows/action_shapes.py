"""What people and programs are shown of scheduled actions: pages, API and command line alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, Prefetch, QuerySet, When
from django.utils import timezone

from postroom.conversations.models import ScheduledMessage
from postroom.flows import action_words
from postroom.flows.action_words import ActionState
from postroom.outgoing import gates, turns
from postroom.outgoing.models import Email, Lane
from postroom.schedule.catalogue import MAIL_QUEUE, MAILING_QUEUE, SCHEDULED_MESSAGES, SHIPPED
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.planning import zone_of
from postroom.workspaces.models import Member

COUNTED_TO = 1000
TRIGGERS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class TriggerShape:
    """Lets an action run at `at`, earlier than its next call; `is_by_hand`: somebody pressed Run Manually."""

    at: datetime
    is_by_hand: bool


@dataclass(frozen=True, slots=True)
class ActionShape:
    """A scheduled action; `name` is the same in every language.

    `state` is one word for where it is, `meaning` says what that means and what to do, `is_final` that it
    stays so until somebody acts. `every` is interval and unit in words. `next_call_at` keeps its hour of the
    clock in `time_zone`; `runs_next_at` is that or an earlier trigger (None: it does not run by itself).
    `waiting` is how much waits for it, counted up to 1000 (None: that is not counted). `last_counts` is what
    the last run did. `failure_count` runs failed one after another since `failing_since`, `lost_count` never
    came back. `deactivated_at`: failures switched it off. At most 20 triggers are named.
    """

    key: str
    name: str
    purpose: str
    is_available: bool
    is_active: bool
    state: str
    meaning: str
    is_final: bool
    interval: int
    unit: str
    every: str
    time_zone: str
    has_own_time_zone: bool
    priority: int
    next_call_at: datetime
    runs_next_at: datetime | None
    running_since: datetime | None
    waiting: int | None
    last_run_at: datetime | None
    last_seconds: float | None
    last_result: str | None
    last_counts: dict[str, int]
    last_error: str
    last_success_at: datetime | None
    failure_count: int
    failing_since: datetime | None
    lost_count: int
    deactivated_at: datetime | None
    triggers: list[TriggerShape]


@dataclass(frozen=True, slots=True)
class ChangedActionShape:
    """An action that was changed, or is to run now; `warnings` says what to think about all the same."""

    action: ActionShape
    warnings: list[str]


def actions_to_show(member: Member) -> QuerySet[ScheduledAction]:
    """The actions of a member's workspace, in the catalogue's order, with what `shape_of_action` reads."""
    triggers = Prefetch("triggers", queryset=Trigger.objects.order_by("at"))
    places = [When(key=key, then=place) for place, key in enumerate(SHIPPED)]
    rows = ScheduledAction.objects.for_member(member).filter(key__in=SHIPPED).order_by(Case(*places))
    return rows.select_related("workspace").prefetch_related(triggers)


def shape_of_action(action: ScheduledAction, *, now: datetime | None = None) -> ActionShape:
    """One of `actions_to_show`."""
    now = now or timezone.now()
    shipped, triggers = SHIPPED[action.key], list(action.triggers.all())
    next_at = runs_next_at(action, triggers)
    state = action_words.state_of(action, next_at, now)
    zone = zone_of(action)
    return ActionShape(
        key=action.key,
        name=shipped.name,
        purpose=str(shipped.purpose),
        is_available=shipped.is_available,
        is_active=action.is_active,
        state=state.value,
        meaning=action_words.meaning_of(action, state),
        is_final=state.is_final,
        interval=action.interval,
        unit=action.unit,
        every=action_words.every(action, (action.anchor_at or action.next_call_at).astimezone(zone)),
        time_zone=zone.key,
        has_own_time_zone=bool(action.time_zone),
        priority=action.priority,
        next_call_at=action.next_call_at,
        runs_next_at=next_at,
        running_since=action.began_at if state is ActionState.RUNNING else None,
        waiting=waiting_for(action, now),
        last_run_at=action.last_run_at,
        last_seconds=action.last_seconds,
        last_result=action.last_result or None,
        last_counts=dict(action.last_counts),
        last_error=action.last_error,
        last_success_at=action.last_success_at,
        failure_count=action.failure_count,
        failing_since=action.failing_since,
        lost_count=action.timeout_count,
        deactivated_at=action.deactivated_at,
        triggers=[TriggerShape(one.at, one.is_by_hand) for one in triggers[:TRIGGERS_SHOWN]],
    )


def runs_next_at(action: ScheduledAction, triggers: Iterable[Trigger]) -> datetime | None:
    """Its next call, or an earlier trigger that counts; None: it is off, and nobody has asked for it."""
    if not SHIPPED[action.key].is_available:
        return None
    counting = [one.at for one in triggers if action.is_active or one.is_by_hand]
    if action.is_active:
        counting.append(action.next_call_at)
    return min(counting, default=None)


def waiting_for(action: ScheduledAction, now: datetime) -> int | None:
    """How much waits for its next run, counted up to COUNTED_TO + 1; None: that is not counted."""
    find = _WAITING.get(action.key)
    return find(action.workspace_id, now)[: COUNTED_TO + 1].count() if find else None


def waiting_shown(key: str, count: int | None) -> str:
    """What `waiting_for` has counted, in words; "" if nothing waits."""
    count = count or 0
    return action_words.waiting_words(key, min(count, COUNTED_TO), is_more=count > COUNTED_TO)


def _gated_emails(workspace_id: int, now: datetime) -> QuerySet[Email]:
    """Also those that are to leave later: a run lets them go, too."""
    gated = Lane.objects.filter(workspace_id=workspace_id, message=None, released_until__isnull=False)
    waiting = Email.objects.waiting().filter(lane__in=gated.values("pk"))
    return waiting.filter(due_at__gt=F("lane__released_until")).order_by()


def _waiting_mailings(workspace_id: int, now: datetime) -> QuerySet[Lane, Any]:
    unsent = Email.objects.waiting().filter(lane=OuterRef("pk"))
    if turns.is_by_queue(workspace_id):  # then the Email Queue Manager gives them their turn
        return Lane.objects.none().values("message")
    lanes = Lane.objects.filter(workspace_id=workspace_id, message__isnull=False)
    lanes = lanes.filter(released_until__lt=gates.FOR_GOOD)
    return lanes.filter(Exists(unsent)).order_by().values("message").distinct()


def _overdue_messages(workspace_id: int, now: datetime) -> QuerySet[ScheduledMessage]:
    waiting = ScheduledMessage.objects.filter(workspace_id=workspace_id).waiting()
    return waiting.filter(post_at__lte=now).order_by()


_WAITING: Mapping[str, Callable[[int, datetime], QuerySet[Any, Any]]] = {
    MAIL_QUEUE: _gated_emails,
    MAILING_QUEUE: _waiting_mailings,
    SCHEDULED_MESSAGES: _overdue_messages,
}
