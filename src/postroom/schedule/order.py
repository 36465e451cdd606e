"""In which order due actions run: workspaces take turns, and each has its own order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from django.db.models import Max, Min

from postroom.schedule import triggers
from postroom.schedule.models import ScheduledAction, Trigger

LOOKED_AT = 50
NEVER = datetime.min.replace(tzinfo=UTC)


class _Due(NamedTuple):
    pk: int
    workspace_id: int
    is_unfinished: bool
    failure_count: int
    priority: int
    last_run_at: datetime | None


def in_turn(keys: Collection[str], now: datetime) -> list[int]:
    """The due actions among which the next is chosen, the first first.

    The workspace whose last turn was longest ago is first, so that nobody comes before the others by asking
    again and again, by a priority, or by work that never ends. Of one workspace's own, what goes on comes
    last (of several the one that has waited longest), before it what has failed, and else the lower priority
    is first. Only those are looked at that have been due, triggered or left over for the longest time,
    `LOOKED_AT` of each: thousands may be due in the same minute.
    """
    found = {one.pk: one for one in _longest_due(keys, now)}
    turns = _last_turns({one.workspace_id for one in found.values()}, keys, now)

    def place(one: _Due) -> tuple[datetime, bool, int, datetime, int, int]:
        waits_since = (one.last_run_at or NEVER) if one.is_unfinished else NEVER
        turn = turns.get(one.workspace_id, NEVER)
        return turn, one.is_unfinished, one.failure_count, waits_since, one.priority, one.pk

    return [one.pk for one in sorted(found.values(), key=place)]


def _longest_due(keys: Collection[str], now: datetime) -> Iterator[_Due]:
    idle = ScheduledAction.objects.filter(lease="", key__in=keys)
    asked_for = (
        Trigger.objects.filter(triggers.is_due(now), action__lease="", action__key__in=keys)
        .values_list("action")
        .annotate(first_at=Min("at"))
        .order_by("first_at")
    )
    for rows in (
        idle.filter(is_active=True, next_call_at__lte=now).order_by("next_call_at")[:LOOKED_AT],
        idle.filter(is_unfinished=True).order_by("last_run_at")[:LOOKED_AT],
        idle.filter(pk__in=[pk for pk, _ in asked_for[:LOOKED_AT]]),
    ):
        yield from map(_Due._make, rows.values_list(*_Due._fields))


def _last_turns(workspaces: Collection[int], keys: Collection[str], now: datetime) -> Mapping[int, datetime]:
    """When each last had a run begin; one in the future, by a clock that was ahead, was no turn."""
    rows = ScheduledAction.objects.filter(workspace__in=workspaces, key__in=keys)
    ran = rows.values_list("workspace").annotate(ended=Max("last_run_at"), begun=Max("began_at"))
    return {
        workspace: max((at for at in ats if at is not None and at <= now), default=NEVER)
        for workspace, *ats in ran
    }
