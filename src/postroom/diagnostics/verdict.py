"""Where one email stands, in one sentence, with who must act and the button that helps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.conversations.models import Notification
from postroom.conversations.models.messages import READ_KEPT
from postroom.diagnostics import wording
from postroom.diagnostics.explain import Explanation, explain, explain_hold
from postroom.diagnostics.reasons import ADMINISTRATOR, NOBODY, OPERATOR, YOU
from postroom.diagnostics.wait_words import in_full
from postroom.outgoing.expecting import Expected, expected, is_limited
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.outgoing.waits import Wait

_CODES = re.compile(r"(?:(?P<code>[245]\d\d)[ -]+)?(?P<enhanced>[245]\.\d{1,3}\.\d{1,3})?\b")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence; `button` is a label of the interface, None if nothing helps or nothing is wrong."""

    sentence: str
    who_must_act: str
    button: str | None = None


def explain_email(email: Email, last: Attempt | None) -> Explanation:
    """Why an email failed, waits or was cancelled; `last` is its last attempt, None if none was made."""
    kind = email.failure_kind or email.cancelled_because
    if last is not None and not kind and last.outcome == Attempt.Outcome.UNCERTAIN:
        kind = FailureKind.UNCERTAIN
    if last is not None and kind == FailureKind.EXPIRED and last.outcome == Attempt.Outcome.UNREACHABLE:
        kind = "unreached_too_long"
    if last is None or email.failure_kind == FailureKind.BOUNCED:
        codes = _CODES.match(email.failure_text)
        code, enhanced = (codes["code"], codes["enhanced"]) if codes else (None, None)
        return explain(
            code=int(code) if code else None,
            enhanced=enhanced or "",
            text=email.failure_text,
            failure_kind=kind,
        )
    return explain(code=last.code, enhanced=last.enhanced, text=last.text, failure_kind=kind)


def verdict_on_email(email: Email, last: Attempt | None, now: datetime, *, cancelled_by: str = "") -> Verdict:
    """Where an email stands at a time; its lane must be loaded.

    `cancelled_by` is the name of the person who cancelled it, empty if nobody did or it is not known.
    """
    match email.state:
        case State.OUTGOING:
            return _waiting(email, last, now)
        case State.FAILED:
            return _failed(email, last)
        case State.CANCELLED:
            return _cancelled(email, last, cancelled_by)
        case _:
            return _sent(email, last)


def _sent(email: Email, last: Attempt | None) -> Verdict:
    server = last.server_name if last else email.lane.server.name
    when = _when(email.sent_at) if email.sent_at else ""
    if email.redirected_to:
        words = _("Sent, but in capture mode: %(server)s took it for %(instead)s on %(time)s.")
        redirected = words % {"server": server, "instead": redirected_words(email), "time": when}
        return Verdict(redirected, str(NOBODY))
    words = _("Sent: %(server)s took it for %(address)s on %(time)s, and no bounce has come back.")
    return Verdict(words % {"server": server, "address": email.address.addr_spec, "time": when}, str(NOBODY))


def redirected_words(email: Email) -> str:
    """Who got it in whose place."""
    return _("%(other)s instead of %(address)s") % {
        "other": email.redirected_to,
        "address": email.address.addr_spec,
    }


def _cancelled(email: Email, last: Attempt | None, by: str) -> Verdict:
    told = explain_email(email, last)
    words = told.what_happened
    if by and email.cancelled_because != "captured":
        words = _("%(name)s cancelled it before it was sent.") % {"name": by}
    return Verdict(words, told.who_must_act, _("Retry"))


def _failed(email: Email, last: Attempt | None) -> Verdict:
    told = explain_email(email, last)
    if email.ignored_at is not None:
        words = _("Delivery Failed, and the failure was ignored. %(reason)s") % {"reason": told.what_happened}
        return Verdict(words, str(NOBODY), _("Retry"))
    words = _("Delivery Failed. %(reason)s %(step)s") % {"reason": told.what_happened, "step": told.next_step}
    return Verdict(words, told.who_must_act, _("Retry"))


def _waiting(email: Email, last: Attempt | None, now: datetime) -> Verdict:
    lane = email.lane
    if email.lease:
        return _in_hand(email, now)
    if lane.is_paused:
        return Verdict(_("It waits, because its lane is paused."), str(OPERATOR))
    if lane.held_because == "no_server" or (lane.held_until is not None and lane.held_until > now):
        return _held(email, expected([email], now)[email.pk], now)
    if wait := _wait_of(email, now):
        who = ADMINISTRATOR if wait.is_off else NOBODY
        return Verdict(in_full(wait, now), str(who), None if wait.campaign else _("Send Now"))
    if last is not None and email.due_at > now:
        told = explain_email(email, last)
        words = _("It waits for the next try on %(time)s. %(reason)s")
        return Verdict(
            words % {"time": _when(email.due_at), "reason": told.what_happened},
            told.who_must_act,
            _("Send Now"),
        )
    if email.due_at > now:
        words = _("It is scheduled for %(time)s.")
        return Verdict(words % {"time": _when(email.due_at)}, str(NOBODY), _("Send Now"))
    return Verdict(_("It waits for its turn to be sent."), str(NOBODY), _("Send Now"))


def _in_hand(email: Email, now: datetime) -> Verdict:
    """A lease that is over was never given back: whoever had it is gone."""
    if email.leased_until is None or email.leased_until <= now:
        words = _(
            "It was being sent by a worker that is gone, so it may have arrived. What became of it is "
            "settled within a minute once an engine runs."
        )
        return Verdict(words, str(NOBODY))
    words = _("It is being sent at this moment. If its worker is lost, it is settled after %(time)s.")
    return Verdict(words % {"time": _when(email.leased_until)}, str(NOBODY))


def _wait_of(email: Email, now: datetime) -> Wait | None:
    """What a gated email waits for; not where a time was chosen for it at which a run finds it."""
    wait = expected([email], now)[email.pk].wait if email.lane.released_until else None
    return None if wait is not None and wait.runs_at is not None and email.due_at > now else wait


def _held(email: Email, when: Expected, now: datetime) -> Verdict:
    lane = email.lane
    reason = wording.why_lane_held(lane)
    if is_limited(lane, now) and lane.held_until and when.at and when.at > lane.held_until:
        words = _("It is held, because %(reason)s. %(turn)s")
        words %= {"reason": reason, "turn": turn_words(lane.held_until, when)}
    elif lane.held_until is None:
        words = _("It waits, because %(reason)s.") % {"reason": reason}
    else:
        words = _("It is held until %(time)s, because %(reason)s.")
        words %= {"time": _when(lane.held_until), "reason": reason}
    return Verdict(words, explain_hold(lane.held_because).who_must_act)


def turn_words(opens_at: datetime, when: Expected) -> str:
    """When a limit lets go what it holds, and about when the turn of this email comes."""
    words = _("From %(opens)s on mail leaves again, and this email about %(time)s (%(before)s before it).")
    if when.place is not None and when.place.is_more:
        words = _(
            "From %(opens)s on mail leaves again; this email later than %(time)s (%(before)s before it)."
        )
    number = when.place.before if when.place else 0
    before = f"{number}+" if when.place and when.place.is_more else str(number)
    at = _when(when.at) if when.at else ""
    return words % {"opens": _when(opens_at), "time": at, "before": before}


def verdict_without_email(
    notification: Notification | None, not_told: str | None, *, may_be_forgotten: bool = False
) -> Verdict:
    """Somebody told inside Postroom, somebody passed over for a reason, or nobody this message knew of.

    `may_be_forgotten`: they may have been told in Postroom so long ago that nothing says it any more.
    """
    if notification is not None:
        if notification.read_at is None:
            return Verdict(_("Told in Postroom, and not read yet."), str(NOBODY))
        return Verdict(_("Told in Postroom, and read."), str(NOBODY))
    if not_told is not None:
        who = YOU if not_told in ("no_address", "inactive") else NOBODY
        return Verdict(wording.why_not_told(not_told), str(who))
    if may_be_forgotten:
        return Verdict(
            _(
                "Not told by email. If they were told in Postroom, that is no longer kept: what a member has "
                "read is removed after %(days)d days."
            )
            % {"days": READ_KEPT.days},
            str(NOBODY),
        )
    return Verdict(
        _("Never told: they did not follow the record when it was posted, and nobody named them."),
        str(NOBODY),
    )


def _when(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}"
