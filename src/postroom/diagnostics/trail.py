"""One answer for a message and one of its recipients: what happened, what it means, who must act."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.conversations.models import Contact, Message, Notification
from postroom.conversations.models.messages import READ_KEPT
from postroom.diagnostics import wording
from postroom.diagnostics.events import EventKind
from postroom.diagnostics.models import Event
from postroom.diagnostics.verdict import (
    Verdict,
    redirected_words,
    turn_words,
    verdict_on_email,
    verdict_without_email,
)
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.outgoing.expecting import expected
from postroom.outgoing.models import Attempt, Email, State


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, in words."""

    at: datetime
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Trail:
    """The answer, in the active language. `button`: the label of the button that helps, or None."""

    verdict: str
    who_must_act: str
    button: str | None
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows that tell of one message and one recipient."""

    message: Message
    email: Email | None
    attempts: list[Attempt]
    events: list[Event]
    notification: Notification | None
    received: ReceivedEmail | None
    stand_ins: list[Event]
    has_member: bool


def trail(message: Message, recipient: str | Contact) -> Trail:
    """Everything that happened to a message on its way to a (normalised) address or a contact, in time order.

    Somebody who was never told gets an answer too: the reason, or that they were no candidate at all.
    """
    found = _find(message, recipient)
    verdict = _verdict(found)
    steps = sorted(_steps(found), key=lambda step: step.at)
    return Trail(verdict.sentence, verdict.who_must_act, verdict.button, steps)


def _find(message: Message, recipient: str | Contact) -> _Found:
    contacts = _contacts(message, recipient)
    addr_spec = recipient if isinstance(recipient, str) else recipient.addr_spec
    email = _email(message, addr_spec, contacts)
    attempts = list(Attempt.objects.filter(email=email).order_by("number", "pk")) if email else []
    return _Found(
        message,
        email,
        attempts,
        _events(message, email, contacts),
        _notification(message, contacts),
        ReceivedEmail.objects.filter(message=message, state=ReceivedState.POSTED).first(),
        _stand_ins(email, attempts) if email else [],
        any(contact.member_id for contact in contacts),
    )


def _contacts(message: Message, recipient: str | Contact) -> list[Contact]:
    if isinstance(recipient, Contact):
        return [recipient] if recipient.workspace_id == message.workspace_id else []
    rows = Contact.objects.filter(workspace_id=message.workspace_id, address__addr_spec=recipient)
    return list(rows.order_by("pk")[:20])


def _email(message: Message, addr_spec: str, contacts: list[Contact]) -> Email | None:
    """By its address now, by its contact, or by an address that an attempt was made to."""
    rows = Email.objects.filter(message=message).select_related(
        "address", "contact", "lane__server", "lane__via", "lane__workspace"
    )
    by_attempt = Attempt.objects.filter(email__message=message, addr_spec=addr_spec).values("email")
    return (
        rows.filter(address__addr_spec=addr_spec).first()
        or rows.filter(contact__in=contacts).first()
        or rows.filter(pk__in=by_attempt).first()
    )


def _events(message: Message, email: Email | None, contacts: list[Contact]) -> list[Event]:
    """What is about this email, about these people, or about the message as a whole."""
    about = Q(email_id=None, contact=None) | Q(email_id=None, contact__in=contacts)
    if email is not None:
        about |= Q(email_id=email.pk)
    rows = Event.objects.filter(about, message=message).select_related("member__user", "member__contact")
    return list(rows.order_by("at", "pk"))


def _stand_ins(email: Email, attempts: list[Attempt]) -> list[Event]:
    """Which other servers stood in for the email's own, if one carried it; the latest first."""
    home = email.lane.server.name
    if all(attempt.server_name == home for attempt in attempts):
        return []
    rows = Event.objects.filter(workspace=email.workspace_id, kind=EventKind.STAND_IN, detail__home=home)
    return list(rows.order_by("-at", "-pk")[:50])


def _notification(message: Message, contacts: list[Contact]) -> Notification | None:
    members = [contact.member_id for contact in contacts if contact.member_id]
    if not members:
        return None
    rows = Notification.objects.filter(message=message, member__in=members, kind=Notification.Kind.MESSAGE)
    return rows.first()


def _verdict(found: _Found) -> Verdict:
    if found.email is not None:
        last = found.attempts[-1] if found.attempts else None
        by = _who_cancelled(found.events)
        return verdict_on_email(found.email, last, timezone.now(), cancelled_by=by)
    not_told = next((event for event in found.events if event.kind == EventKind.NOT_TOLD), None)
    reason = str(not_told.detail.get("reason", "")) if not_told else None
    is_old = found.message.created_at < timezone.now() - READ_KEPT
    return verdict_without_email(found.notification, reason, may_be_forgotten=is_old and found.has_member)


def _who_cancelled(events: list[Event]) -> str:
    """The name of whoever cancelled it last; empty if nobody did."""
    cancelled = [event for event in events if event.kind == EventKind.CANCELLED and event.email_id]
    return _actor(cancelled[-1]) if cancelled else ""


def _steps(found: _Found) -> Iterator[Step]:
    yield _posting(found)
    if found.email is not None:
        yield from _email_steps(found.email)
    yield from (_attempt(attempt, found.stand_ins) for attempt in found.attempts)
    yield from (_event(event) for event in found.events)
    if found.notification is not None:
        yield from _notification_steps(found.notification)


def _posting(found: _Found) -> Step:
    author = found.message.author_name or str(found.message.author or "")
    if found.received is not None:
        sender = found.received.from_header or found.received.reverse_path
        return Step(found.received.received_at, _("Came in by email"), sender)
    return Step(found.message.created_at, _("Posted"), _("by %(name)s") % {"name": author} if author else "")


def _email_steps(email: Email) -> Iterator[Step]:
    why = str(wording.WHY_TOLD.get(email.why_told, email.why_told))
    queued = _("queued in the %(stream)s lane for %(server)s") % {
        "stream": email.lane.get_stream_display(),
        "server": email.lane.server.name,
    }
    yield Step(email.created_at, why, f"{email.address.addr_spec} · {queued}")
    if email.redirected_to:
        at = email.first_attempt_at or timezone.now()
        yield Step(at, _("Redirected by capture mode"), redirected_words(email))
    if email.state == State.OUTGOING and email.lane.held_until is not None:
        yield _hold(email, email.lane.held_until, timezone.now())
    if email.ignored_at is not None:
        yield Step(email.ignored_at, _("The failure was ignored"))


def _hold(email: Email, until: datetime, now: datetime) -> Step:
    lane = email.lane
    if until <= now:
        return Step(now, _("Held no longer: it goes now"))
    why, when = wording.why_lane_held(lane), expected([email], now)[email.pk]
    if when.at is not None and when.at > until:
        why = f"{why}. {turn_words(until, when)}"
    return Step(now, _("Its lane is held until %(time)s") % {"time": _when(until)}, why)


def _attempt(attempt: Attempt, stand_ins: list[Event]) -> Step:
    reply = " ".join(str(part) for part in (attempt.code, attempt.enhanced, attempt.text) if part)
    to = _("%(address)s over %(server)s") % {"address": attempt.addr_spec, "server": attempt.server_name}
    if home := _stood_in_for(attempt, stand_ins):
        to += _(", because %(home)s could not be reached") % {"home": home}
    if attempt.is_unverified:
        to += f" ({attempt.protection})"
    what = str(wording.OUTCOMES.get(attempt.outcome, attempt.outcome))
    return Step(attempt.at, what, f"{to}: {reply}" if reply else to)


def _stood_in_for(attempt: Attempt, stand_ins: list[Event]) -> str:
    """The server that the attempt's server stood in for at the time; empty if it was its own."""
    then = (event for event in stand_ins if event.at <= attempt.at)
    return next((e.detail["home"] for e in then if e.detail["via"] == attempt.server_name), "")


def _event(event: Event) -> Step:
    what, detail = wording.of_event(event.kind, event.detail, _actor(event))
    return Step(event.at, what, detail)


def _actor(event: Event) -> str:
    return str(getattr(event.member, "contact", None) or event.member) if event.member else ""


def _notification_steps(notification: Notification) -> Iterator[Step]:
    yield Step(notification.created_at, _("Told in Postroom"))
    if notification.read_at is not None:
        yield Step(notification.read_at, _("Read in Postroom"))


def _when(at: datetime) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}"
