"""Every workspace has its actions, and not all of them run in the same second."""

from __future__ import annotations

import zlib
import zoneinfo
from collections.abc import Iterable
from datetime import datetime, time, timedelta

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from postroom.schedule.calendar import Unit, call_before, first_moment, next_call
from postroom.schedule.catalogue import SHIPPED, Shipped
from postroom.schedule.models import ScheduledAction
from postroom.workspaces.models import Workspace

NIGHT_BEGINS = time(2, 0)  # by the workspace's clock: people sleep, and clean-up disturbs nobody
NIGHT_SECONDS = 3 * 3600
LENGTHS = {Unit.MINUTES: 60, Unit.HOURS: 3600}
LONGEST = {
    Unit.MINUTES: timedelta(minutes=1),
    Unit.HOURS: timedelta(hours=1),
    Unit.DAYS: timedelta(days=1),
    Unit.WEEKS: timedelta(weeks=1),
    Unit.MONTHS: timedelta(days=31),
}
CLOCKS_CHANGE = timedelta(hours=2)


def ensure(workspaces: Iterable[Workspace]) -> int:
    """Give each of the workspaces the actions that it lacks; return how many were made.

    What is there stays as somebody set it. The first call lies within the interval from now, for what is
    counted in days at night, at a second that each workspace has for itself.
    """
    wanted = list(workspaces)
    there = set(ScheduledAction.objects.filter(workspace__in=wanted).values_list("workspace_id", "key"))
    now = timezone.now()
    made = [
        new_action(workspace, shipped, now)
        for workspace in wanted
        for shipped in SHIPPED.values()
        if (workspace.pk, shipped.key) not in there
    ]
    ScheduledAction.objects.bulk_create(made, ignore_conflicts=True)  # another machine may start now, too
    return len(made)


def new_action(workspace: Workspace, shipped: Shipped, now: datetime) -> ScheduledAction:
    """The row of a shipped action, not saved."""
    first = first_call(workspace, shipped, now)
    return ScheduledAction(
        workspace=workspace,
        key=shipped.key,
        is_active=shipped.is_available,
        interval=shipped.interval,
        unit=shipped.unit,
        next_call_at=first,
        anchor_at=first,
        priority=shipped.priority,
    )


def first_call(workspace: Workspace, shipped: Shipped, now: datetime) -> datetime:
    """When a new action is called first: later than `now`."""
    place = zlib.crc32(f"{workspace.pk} {shipped.key}".encode())
    if shipped.unit in LENGTHS:
        within = shipped.interval * LENGTHS[Unit(shipped.unit)]
        return now.replace(microsecond=0) + timedelta(seconds=1 + place % within)
    zone = zone_named(workspace.time_zone)
    today = datetime.combine(now.astimezone(zone).date(), NIGHT_BEGINS)
    at = first_moment(today + timedelta(seconds=place % NIGHT_SECONDS), zone)
    return next_call(at, now, 1, Unit.DAYS, zone)


def zone_of(action: ScheduledAction) -> zoneinfo.ZoneInfo:
    """The zone whose clock the action goes by: its own, else its workspace's."""
    return zone_named(action.time_zone or action.workspace.time_zone)


def zone_named(name: str) -> zoneinfo.ZoneInfo:
    """The zone; UTC for a name that this machine no longer knows, so that what is due goes on being due."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return zoneinfo.ZoneInfo("UTC")


def call_after(action: ScheduledAction, began_at: datetime) -> datetime:
    """The action's next call after a run that began at `began_at`; one that lies ahead already stays.

    Counted from the beginning of the run: what fell due while it ran is not known to be done by it.
    """
    if action.next_call_at > began_at:
        return action.next_call_at
    anchor = action.anchor_at or action.next_call_at
    return next_call(anchor, began_at, action.interval, action.unit, zone_of(action))


def too_far_ahead(now: datetime) -> QuerySet[ScheduledAction]:
    """Actions whose next call lies further ahead than their interval, although nobody chose it.

    A call that somebody chose is the one that the others are counted from.
    """
    rhythms = ScheduledAction.objects.values_list("unit", "interval").distinct()
    is_far = Q(pk=None)
    for unit, interval in rhythms:
        soonest = now + interval * LONGEST[Unit(unit)] + CLOCKS_CHANGE
        is_far |= Q(unit=unit, interval=interval, next_call_at__gt=soonest)
    return ScheduledAction.objects.filter(is_far).exclude(anchor_at=F("next_call_at"))


def bring_forward(action: ScheduledAction, now: datetime) -> None:
    """Set the next call to the first one after `now` of the same rhythm. Not saved."""
    zone, anchor = zone_of(action), action.anchor_at
    rhythm = (action.interval, action.unit, zone)
    if anchor is not None and anchor <= now:
        action.next_call_at = next_call(anchor, now, *rhythm)
    else:
        action.next_call_at = action.anchor_at = call_before(action.next_call_at, now, *rhythm)
