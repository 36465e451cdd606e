"""What happens next to an email, in a few words: every row of the queue says it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from postroom.diagnostics.wait_words import in_short
from postroom.diagnostics.wording import why_lane_held
from postroom.outgoing.expecting import Expected
from postroom.outgoing.models import Email, Lane, State
from postroom.outgoing.waits import Wait
from postroom.workspaces.plans import limit_of


@dataclass(frozen=True, slots=True)
class NextStep:
    """`look` names icon and colour: outgoing, delayed, held, failed, sent, cancelled; `at` is when."""

    look: str
    label: str
    words: str
    at: datetime | None
    is_final: bool


def next_step(email: Email, now: datetime, when: Expected | None = None) -> NextStep:
    """What happens next to this email (its lane and workspace must be loaded), or that nothing does.

    `when` is about when it leaves, where a limit holds it or an action lets it go (None: not known here).
    """
    label = str(email.get_state_display())
    if email.state == State.OUTGOING:
        return _of_outgoing(email, label, now, when)
    if email.state == State.FAILED:
        words = _("ignored") if email.ignored_at else _("final")
        return NextStep("cancelled" if email.ignored_at else "failed", label, words, _ended_at(email), True)
    if email.state == State.CANCELLED:
        return NextStep("cancelled", label, _why_cancelled(email), None, True)
    words = _("redirected to %(address)s") % {"address": email.redirected_to} if email.redirected_to else ""
    return NextStep("sent", label, words, email.sent_at or email.created_at, True)


def _of_outgoing(email: Email, label: str, now: datetime, when: Expected | None) -> NextStep:
    if email.lease:
        return _in_hand(email, label, now)
    if hold := _hold(email.lane, now, when):
        return NextStep("held", label, *hold, False)
    if wait := _wait_of(email, now, when):
        return _gated(wait, label, now)
    if email.attempt_count:
        words = _next_try(email.attempt_count + 1)
        if email.uncertain_count:
            # Translators: %(next)s is such as "try no. 2".
            words = _("may have arrived; %(next)s") % {"next": words}
        return NextStep("delayed", label, words, email.due_at, False)
    words = _("leaves at once") if email.due_at <= now else _("scheduled for")
    return NextStep("outgoing", label, words, email.due_at if email.due_at > now else None, False)


def _in_hand(email: Email, label: str, now: datetime) -> NextStep:
    """A lease that is over was never given back: whoever had it is gone."""
    if email.leased_until is not None and email.leased_until > now:
        return NextStep("outgoing", label, _("being sent"), None, False)
    words = _("was being sent when its worker was lost; may have arrived, and is settled soon")
    return NextStep("delayed", label, words, None, False)


def _wait_of(email: Email, now: datetime, when: Expected | None) -> Wait | None:
    """What it waits for; not where a time was chosen for it at which a run finds it."""
    wait = when.wait if when is not None else None
    is_timed = email.due_at > now and wait is not None and wait.runs_at is not None
    return None if is_timed else wait


def _gated(wait: Wait, label: str, now: datetime) -> NextStep:
    words = in_short(wait)
    if wait.runs_at is None:
        return NextStep("held" if wait.is_off else "outgoing", label, words, None, False)
    if wait.runs_at <= now:
        words = _("%(waits)s, which is about to run") % {"waits": words}
        return NextStep("outgoing", label, words, None, False)
    # Translators: a time follows, such as "in 20 minutes".
    words = _("%(waits)s, which runs") % {"waits": words}
    return NextStep("outgoing", label, words, wait.runs_at, False)


def _hold(lane: Lane, now: datetime, when: Expected | None) -> tuple[str, datetime | None] | None:
    if lane.is_paused:
        return _("paused"), None
    if lane.held_until is not None and lane.held_until > now:
        reason = _in_short(lane)
        if when is not None and when.at is not None and when.place is not None:
            words = _("held: %(reason)s; after") if when.place.is_more else _("held: %(reason)s; about")
            return words % {"reason": reason}, when.at
        return _("held: %(reason)s; again") % {"reason": reason}, lane.held_until
    if lane.held_because == "no_server":
        return _("held: %(reason)s") % {"reason": why_lane_held(lane)}, None
    return None


def _in_short(lane: Lane) -> str:
    """A row has little room, and the banner above it says the rest."""
    limit = limit_of(lane.workspace) if lane.held_because == "daily_limit" else None
    return why_lane_held(lane) if limit is None else _("daily limit of %(limit)d") % {"limit": limit}


def _next_try(number: int) -> str:
    # Translators: the second, third … try of an email.
    return ngettext("try no. %(number)d", "try no. %(number)d", number) % {"number": number}


def _why_cancelled(email: Email) -> str:
    if email.cancelled_because == "captured":
        return _("captured, not sent")
    if email.cancelled_because == "member":
        return _("cancelled by a person, not sent")
    return _("will not be sent")


def _ended_at(email: Email) -> datetime | None:
    return email.bounced_at or email.ignored_at or email.first_attempt_at or email.created_at
