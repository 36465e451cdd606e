"""Scheduled actions as pages show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format

from postroom.flows import action_words
from postroom.flows.action_shapes import ActionShape, shape_of_action, waiting_shown
from postroom.flows.action_words import ActionState
from postroom.schedule.models import ScheduledAction
from postroom.schedule.planning import zone_of

#: The icon and the look of each state: colour only where somebody has to act, never colour alone.
_LOOKS = {
    ActionState.RUNNING: ("play", "outgoing"),
    ActionState.DUE: ("clock", "outgoing"),
    ActionState.GOES_ON: ("rotate-cw", "outgoing"),
    ActionState.NEW: ("clock", "sent"),
    ActionState.DONE: ("check", "sent"),
    ActionState.FAILED: ("octagon-alert", "failed"),
    ActionState.LOST: ("triangle-alert", "delayed"),
    ActionState.OFF: ("pause", "cancelled"),
    ActionState.GIVEN_UP: ("octagon-alert", "failed"),
    ActionState.NOT_AVAILABLE: ("ban", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A trigger: when it lets the action run, and by whose clock that is meant."""

    at: datetime
    clock: str
    is_by_hand: bool


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action in the list and on its own page."""

    action: ScheduledAction
    shape: ActionShape

    @property
    def state(self) -> ActionState:
        """Where it is."""
        return ActionState(self.shape.state)

    @property
    def icon(self) -> str:
        """The icon of its state."""
        return _LOOKS[self.state][0]

    @property
    def look(self) -> str:
        """The look of its state."""
        return _LOOKS[self.state][1]

    @property
    def has_failed(self) -> bool:
        """Did runs fail one after another, up to the last?"""
        return self.shape.failure_count > 0

    @property
    def may_run(self) -> bool:
        """Is there something to run by hand, and no run under way?"""
        return self.shape.is_available and self.state is not ActionState.RUNNING

    @property
    def is_under_way(self) -> bool:
        """Does a run go on, or begin within a minute?"""
        return self.state in (ActionState.RUNNING, ActionState.DUE, ActionState.GOES_ON)

    @property
    def next_clock(self) -> str:
        """Its next call as the clock of its zone shows it; "" if it does not run by itself."""
        return self._clock(self.shape.next_call_at) if self.shape.is_active else ""

    @property
    def is_next_near(self) -> bool:
        """Is its next call so near that words say more than its date, which stands beside them?"""
        return abs(self.shape.next_call_at - timezone.now()) < timedelta(hours=23)

    @property
    def is_early(self) -> bool:
        """Does a trigger let it run before its next call?"""
        return self.shape.runs_next_at is not None and (
            not self.shape.is_active or self.shape.runs_next_at < self.shape.next_call_at
        )

    @property
    def took(self) -> str:
        """How long the last run took."""
        return "" if self.shape.last_seconds is None else action_words.duration(self.shape.last_seconds)

    @property
    def did(self) -> str:
        """What the last run did, or the one at work has done so far."""
        return action_words.counts_words(self.shape.last_counts)

    @property
    def waits(self) -> str:
        """What waits for it."""
        return waiting_shown(self.shape.key, self.shape.waiting)

    @property
    def warning(self) -> str:
        """What to know before running it by hand."""
        return action_words.manual_warning(self.shape.key)

    @property
    def planned(self) -> list[PlannedRun]:
        """Its triggers, the earliest first."""
        return [PlannedRun(one.at, self._clock(one.at), one.is_by_hand) for one in self.shape.triggers]

    def _clock(self, at: datetime) -> str:
        local = at.astimezone(zone_of(self.action))
        return f"{date_format(local, 'j M Y H:i')} {self.shape.time_zone}"


def action_row(action: ScheduledAction, now: datetime) -> ActionRow:
    """One of `flows.action_shapes.actions_to_show`."""
    return ActionRow(action, shape_of_action(action, now=now))


def action_rows(actions: Iterable[ScheduledAction], now: datetime) -> list[ActionRow]:
    """Several of them, in the order in which they come."""
    return [action_row(action, now) for action in actions]
