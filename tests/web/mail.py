"""Messages whose mail has come to something, without sending any."""

from __future__ import annotations

from django.utils import timezone

from postroom.conversations.models import Contact, Message
from postroom.flows import posting
from postroom.outgoing.models import Attempt, Email, FailureKind, State, Tally
from tests.people import Cast

UNKNOWN_USER = "<ben@example.org>: Recipient address rejected: User unknown"


def said(people: Cast, text: str = "Shall we deliver on Monday?", **more: object) -> Message:
    """Ana says something on the order: Ben is mailed."""
    draft = posting.Draft(
        workspace=people.workspace,
        record=people.record,
        author=people.ana_contact,
        member=people.ana,
        text=text,
        **more,  # type: ignore[arg-type]
    )
    return posting.post(draft)


def failed(people: Cast) -> Email:
    """Ana's message to Ben was refused with a 550."""
    email = said(people).emails.get()
    _put(email, State.FAILED, failure_kind=FailureKind.REFUSED, failure_text=f"550 5.1.1 {UNKNOWN_USER}")
    Attempt.objects.create(
        workspace=people.workspace,
        email=email,
        number=1,
        addr_spec="ben@example.org",
        server_name="relay",
        outcome=Attempt.Outcome.REFUSED,
        code=550,
        enhanced="5.1.1",
        text=UNKNOWN_USER,
    )
    return email


def submitted(people: Cast, headers: bytes = b"", sender: str = "shop@demo.example") -> Message:
    """A program's mail to Ben, on no record and of no author."""
    raw = b"From: Shop <shop@demo.example>\r\nTo: ben@example.org\r\n" + headers + b"\r\nThank you.\r\n"
    return posting.submit(
        people.workspace, raw, reverse_path=sender, forward_paths=["ben@example.org"], member=people.ana
    )


def fail(email: Email, kind: FailureKind = FailureKind.REFUSED, text: str = "550 5.1.1 no") -> Email:
    """It has failed, whatever it was."""
    _put(email, State.FAILED, failure_kind=kind, failure_text=text)
    return email


def waiting(people: Cast) -> Email:
    """Ana's message to Ben waits in the queue."""
    email = said(people).emails.get()
    Email.objects.filter(pk=email.pk).update(is_listed=True)
    return email


def told(message: Message, contact: Contact) -> Email:
    """The email of a message to somebody."""
    return message.emails.get(contact=contact)


def _put(email: Email, state: State, **fields: object) -> None:
    now = timezone.now()
    Email.objects.filter(pk=email.pk).update(
        state=state, is_listed=True, attempt_count=1, first_attempt_at=now, **fields
    )
    Tally.objects.filter(message=email.message_id).update(outgoing_count=0, failed_count=1)
    email.refresh_from_db()
