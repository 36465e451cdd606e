"""About when mail leaves that a limit holds: by its place in the queue, the limit, and when it starts again.

Pages, programs, Why? and the composer's forecast all reckon with `Window`, so that no two of them differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.outgoing import allowances
from postroom.outgoing.models import Email, Lane, State
from postroom.outgoing.relays import SECRETS
from postroom.outgoing.waits import Wait, waits_of
from postroom.workspaces import parameters, plans

LOOKED_AT = 1000
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A limit: `each` leave in every `length`, but only `room` before `ends_at`, when it starts again."""

    each: int
    room: int
    ends_at: datetime
    length: timedelta

    def restart_count(self, before: int) -> int:
        """How often it has to start again until the turn comes of what has so many before it."""
        return 0 if before < self.room else 1 + (before - max(0, self.room)) // max(1, self.each)

    def reaches_at(self, before: int, opens_at: datetime) -> datetime:
        """When that turn comes, not before `opens_at`."""
        count = self.restart_count(before)
        return max(opens_at, self.ends_at + (count - 1) * self.length) if count else opens_at


@dataclass(frozen=True, slots=True)
class Place:
    """How many leave before an Email. `is_more`: more than `before`, which is where counting ended."""

    before: int
    is_more: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """About when an Email leaves (after that, if `place.is_more`); `at` None: nobody can say.

    `place` is None where nothing holds it, `wait` where it needs no scheduled action to leave.
    """

    at: datetime | None
    place: Place | None = None
    wait: Wait | None = None


def leaves_at(opens_at: datetime, before: int, windows: Iterable[Window]) -> datetime:
    """When an Email leaves that has `before` others before it; the slowest limit counts."""
    return max((window.reaches_at(before, opens_at) for window in windows), default=opens_at)


def day_window(workspace_id: int, limit: int, *, is_urgent: bool, at: datetime) -> Window:
    """The daily limit from `at` on: bulk mail leaves urgent mail its share of every day."""
    percent = 0 if is_urgent else parameters.value(workspace_id, plans.URGENT_SHARE)
    each = limit - plans.kept_for_urgent(limit, percent)
    room = max(0, each - allowances.used_today(workspace_id, at))
    return Window(each, room, plans.resets_at(at), _DAY)


def expected(emails: Sequence[Email], now: datetime | None = None) -> dict[int, Expected]:
    """By id, for those of these Emails that are Outgoing; their lanes must be loaded.

    A few questions for each lane that is held, one for all that wait for a scheduled action.
    """
    now = now or timezone.now()
    waiting = [email for email in emails if email.state == State.OUTGOING]
    held = [email for email in waiting if is_kept(email.lane, now)]
    places = places_of(held)
    windows = _windows({email.lane_id for email in held if is_limited(email.lane, now)})
    waits = waits_of(waiting, now)
    return {
        email.pk: _after(waits.get(email.pk), _expected(email, places.get(email.pk), windows))
        for email in waiting
    }


def _after(wait: Wait | None, when: Expected) -> Expected:
    """Not before what it waits for."""
    if wait is None:
        return when
    at = None if when.at is None or wait.runs_at is None else max(when.at, wait.runs_at)
    return replace(when, at=at, wait=wait)


def is_kept(lane: Lane, now: datetime) -> bool:
    """Does anything keep the lane's Emails in at this time?"""
    is_held = lane.held_until is not None and lane.held_until > now
    return lane.is_paused or is_held or lane.held_because == "no_server"


def is_limited(lane: Lane, now: datetime) -> bool:
    """Is it a limit that holds them: one that says when it starts again, and that no hurry changes?"""
    return (
        not lane.is_paused
        and lane.held_because in allowances.LIMIT_HOLDS
        and lane.held_until is not None
        and lane.held_until > now
    )


def _expected(email: Email, place: Place | None, windows: Mapping[int, list[Window]]) -> Expected:
    if place is None:
        return Expected(email.due_at)
    opens_at = email.lane.held_until
    if email.lane_id not in windows or opens_at is None:
        return Expected(None, place)
    return Expected(max(email.due_at, leaves_at(opens_at, place.before, windows[email.lane_id])), place)


# Places.


def places_of(held: Iterable[Email]) -> dict[int, Place]:
    """For each of these waiting Emails (lanes loaded), how many of the workspace leave earlier.

    Two questions per lane, however many Emails are asked for; counting ends at LOOKED_AT.
    """
    emails = list(held)
    lanes = {email.lane_id: email.lane for email in emails}
    orders = {pk: _order(lane) for pk, lane in lanes.items()}
    urgent = {pk: _urgent_before(lane) for pk, lane in lanes.items()}
    return {email.pk: _place(orders[email.lane_id], email.pk, urgent[email.lane_id]) for email in emails}


def _order(lane: Lane) -> dict[int, int]:
    rows = Email.objects.filter(lane=lane, state=State.OUTGOING, lease="").order_by("due_at", "pk")
    return {pk: place for place, pk in enumerate(rows.values_list("pk", flat=True)[:LOOKED_AT])}


def _urgent_before(lane: Lane) -> int:
    if lane.stream == Stream.URGENT:
        return 0
    urgent = Lane.objects.filter(
        workspace_id=lane.workspace_id, server_id=lane.server_id, stream=Stream.URGENT
    )
    waiting = Email.objects.filter(lane__in=urgent.values("pk"), state=State.OUTGOING, lease="")
    return waiting.order_by()[: LOOKED_AT + 1].count()


def _place(order: dict[int, int], pk: int, urgent_count: int) -> Place:
    number = order.get(pk, LOOKED_AT) + urgent_count
    return Place(min(number, LOOKED_AT), pk not in order or number > LOOKED_AT)


# Limits.


def _windows(lane_ids: set[int]) -> dict[int, list[Window]]:
    if not lane_ids:
        return {}
    secrets = [f"{of}__{secret}" for of in ("server", "via") for secret in SECRETS]
    lanes = Lane.objects.filter(pk__in=lane_ids).select_related("workspace", "server", "via").defer(*secrets)
    return {lane.pk: _windows_of(lane) for lane in lanes}


def _windows_of(lane: Lane) -> list[Window]:
    server, opens_at = lane.via or lane.server, lane.held_until
    assert opens_at is not None
    limit = plans.limit_of(lane.workspace) if server.is_shared else None
    rates = allowances.rates_of(server)
    used = allowances.used_of(allowances.server_accounts(server.pk, opens_at, rates)) if rates else {}
    windows = [
        Window(
            rate,
            max(0, rate - used.get(unit, 0)),
            allowances.window_end(unit, opens_at),
            allowances.LENGTHS[allowances.Unit(unit)],
        )
        for unit, rate in rates.items()
    ]
    if limit is not None:
        is_urgent = lane.stream == Stream.URGENT
        windows.append(day_window(lane.workspace_id, limit, is_urgent=is_urgent, at=opens_at))
    return windows
