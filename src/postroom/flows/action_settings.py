"""What administrators change about scheduled actions: how often, when, by whose clock, and whether at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.diagnostics.events import EventKind, note
from postroom.flows.acting import refuse_unless_may_change, refuse_while_running
from postroom.flows.action_shapes import waiting_for, waiting_shown
from postroom.schedule import running, triggers
from postroom.schedule.calendar import Unit, call_before, first_moment
from postroom.schedule.catalogue import MAIL_QUEUE
from postroom.schedule.models import ScheduledAction
from postroom.schedule.planning import zone_of
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.time_zones import known_zone

SHORTEST = timedelta(minutes=5)
SHORT_FOR_MAIL = timedelta(minutes=15)
FARTHEST = timedelta(days=400)
LONGEST_INTERVAL = 999
LOWEST_PRIORITY = 99
LENGTHS: Mapping[str, timedelta] = {
    Unit.MINUTES: timedelta(minutes=1),
    Unit.HOURS: timedelta(hours=1),
    Unit.DAYS: timedelta(days=1),
    Unit.WEEKS: timedelta(weeks=1),
    Unit.MONTHS: timedelta(days=28),
}
WATCHED = ("interval", "unit", "next_call_at", "time_zone", "priority", "is_active")


def change(
    action: ScheduledAction,
    by: Member,
    *,
    interval: int | None = None,
    unit: str | None = None,
    next_call_at: datetime | None = None,
    time_zone: str | None = None,
    priority: int | None = None,
    is_active: bool | None = None,
) -> tuple[str, ...]:
    """Change what is given (None leaves it as it is; `time_zone` "" means the workspace's clock).

    Returns the sentences to warn with; what they warn of was done. `next_call_at` lies ahead, or is now;
    without a zone it is meant by the clock that the action is to keep. The calls after it are counted from
    it. `action` is then as it is stored. Raises RequestRefused, with nothing changed, and ActionRuns while it
    is at work, unless it is to be switched off: then its run ends at the next safe point.
    """
    refuse_unless_may_change(action, by)
    with transaction.atomic():
        row = _locked(action)
        if is_active is not False:
            refuse_while_running(row)
        before = _told(row)
        _set_rhythm(row, interval, unit)
        _set_clock(row, time_zone)
        _set_next_call(row, _by_its_clock(row, next_call_at))
        _set_priority(row, priority)
        if is_active is not None:
            _set_active(row, is_active=is_active)
        _store(row, before, by)
    action.refresh_from_db()
    return tuple(
        filter(
            None,
            [
                _too_often(row) if interval is not None or unit is not None else "",
                _skipped(row, next_call_at),
                _long_ahead(row) if next_call_at is not None else "",
                _bulk_waits(row) if before["is_active"] and not row.is_active else "",
            ],
        )
    )


def switch(action: ScheduledAction, by: Member, is_active: bool) -> tuple[str, ...]:
    """Switch it on or off; returns and raises what `change` does. Switched on, it starts with a clean slate.

    Switched off, it is run by hand only, and triggers for later wait for a week. A run in hand, also one by
    hand while it is off, ends at its next safe point, and what is left over stays undone. Calls that were
    missed while it was off are made up by one run.
    """
    return change(action, by, is_active=is_active)


def _locked(action: ScheduledAction) -> ScheduledAction:
    rows = ScheduledAction.objects.select_related("workspace").select_for_update(of=("self",), no_key=True)
    return rows.get(pk=action.pk)


def _told(row: ScheduledAction) -> dict[str, object]:
    values = {name: getattr(row, name) for name in WATCHED}
    return values | {"next_call_at": row.next_call_at.isoformat(timespec="seconds")}


def _set_rhythm(row: ScheduledAction, interval: int | None, unit: str | None) -> None:
    if unit is not None and unit not in Unit.values:
        words = _("There is no unit %(unit)s. Choose from: %(known)s.")
        raise RequestRefused(words % {"unit": unit, "known": ", ".join(Unit.values)})
    before = (row.interval, row.unit)
    row.interval = row.interval if interval is None else interval
    row.unit = row.unit if unit is None else unit
    if interval is None and unit is None:
        return
    if not 1 <= row.interval <= LONGEST_INTERVAL:
        words = _("The interval is a whole number from 1 to %(most)s.")
        raise RequestRefused(words % {"most": LONGEST_INTERVAL})
    if length_of(row) < SHORTEST:
        raise RequestRefused(
            _(
                "The shortest interval is 5 minutes: every run takes time from all workspaces of this "
                "installation. What is urgent does not wait for it."
            )
        )
    if (row.interval, row.unit) != before:
        row.anchor_at = row.next_call_at  # the new rhythm begins with the call that is planned
        _bring_forward(row)


def _bring_forward(row: ScheduledAction) -> None:
    """A shorter rhythm begins now, not after what is left of the longer one; days keep their hour."""
    now = timezone.now().replace(microsecond=0)
    soonest = now + length_of(row)
    if row.next_call_at <= soonest:
        return
    if row.unit not in (Unit.MINUTES, Unit.HOURS):
        soonest = call_before(row.next_call_at, now, row.interval, row.unit, zone_of(row))
    row.next_call_at = row.anchor_at = soonest


def length_of(row: ScheduledAction) -> timedelta:
    """How long its interval is at least; a month counts 28 days."""
    return row.interval * LENGTHS[row.unit]


def _set_clock(row: ScheduledAction, time_zone: str | None) -> None:
    if time_zone is not None:
        row.time_zone = known_zone(time_zone) if time_zone.strip() else ""


def _by_its_clock(row: ScheduledAction, at: datetime | None) -> datetime | None:
    if at is None or at.tzinfo is not None:
        return at
    try:
        return first_moment(at, zone_of(row))
    except OverflowError as error:
        raise RequestRefused(_("That is more than a year ahead. Choose an earlier time.")) from error


def _set_next_call(row: ScheduledAction, at: datetime | None) -> None:
    if at is None:
        return
    now = timezone.now()
    if at < now - timedelta(minutes=1):
        raise RequestRefused(_("That time has passed. Choose one that lies ahead."))
    if at > now + FARTHEST:
        raise RequestRefused(_("That is more than a year ahead. Choose an earlier time."))
    row.next_call_at = row.anchor_at = at.astimezone(UTC)


def _set_priority(row: ScheduledAction, priority: int | None) -> None:
    if priority is None:
        return
    if not 0 <= priority <= LOWEST_PRIORITY:
        words = _("The priority is a whole number from 0, which runs first, to %(last)s.")
        raise RequestRefused(words % {"last": LOWEST_PRIORITY})
    row.priority = priority


def _set_active(row: ScheduledAction, *, is_active: bool) -> None:
    if is_active and not row.is_active:
        row.failure_count, row.timeout_count = 0, 0
        row.failing_since, row.deactivated_at = None, None
    if not is_active:
        running.let_go(row)
    row.is_active = is_active


def _store(row: ScheduledAction, before: dict[str, object], by: Member) -> None:
    row.save()
    after = _told(row)
    if after == before:
        return
    changed = [name for name in WATCHED if before[name] != after[name]]
    note(
        EventKind.ACTION_CHANGED,
        workspace=by.workspace,
        member=by,
        key=row.key,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    transaction.on_commit(partial(triggers.wake, row.key))


# What to think about all the same.


def _too_often(row: ScheduledAction) -> str:
    if row.key != MAIL_QUEUE or length_of(row) >= SHORT_FOR_MAIL:
        return ""
    return _(
        "Under 15 minutes one run may not get through everything before the next one begins. It does not "
        "hurry anything either: urgent mail leaves at once and does not wait for this action."
    )


def _skipped(row: ScheduledAction, asked: datetime | None) -> str:
    """Was an hour asked for that the clocks of its zone skip on that day?"""
    zone = zone_of(row)
    local = row.next_call_at.astimezone(zone).replace(tzinfo=None)
    if asked is None or asked.tzinfo is not None or asked == local:
        return ""
    words = _(
        "On that day the clocks of %(zone)s skip %(asked)s, so it runs at %(then)s, and keeps that hour from "
        "then on. To keep the hour that you asked for, choose another day."
    )
    return words % {"zone": zone.key, "asked": f"{asked:%H:%M}", "then": f"{local:%H:%M}"}


def _long_ahead(row: ScheduledAction) -> str:
    if row.next_call_at <= timezone.now() + length_of(row) * 1.2:
        return ""
    words = _(
        "It does not run before %(time)s, which is further ahead than its interval. Until then only Run "
        "Manually, or something that plans an earlier run, lets it run."
    )
    zone = zone_of(row)
    return words % {"time": f"{row.next_call_at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"}


def _bulk_waits(row: ScheduledAction) -> str:
    if row.key != MAIL_QUEUE:
        return ""
    waits = waiting_shown(row.key, waiting_for(row, timezone.now()))
    words = _(
        "All bulk mail waits from now on, until this action is switched on again or somebody presses Run "
        "Manually; urgent mail and retries do not. %(waits)s"
    )
    return (words % {"waits": f"{waits}." if waits else ""}).strip()
