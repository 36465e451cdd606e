"""The failure panel: each failed recipient in plain words, and everybody else of the message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postroom.conversations.models import Message
from postroom.diagnostics.explain import Explanation
from postroom.diagnostics.verdict import explain_email
from postroom.flows.retrying import may_correct
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.web.queue_places import LANE, Placed, steps_of
from postroom.workspaces.models import Member

SHOWN = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed recipient. `attempt` is the last one, None if none was made."""

    email: Email
    attempt: Attempt | None
    explanation: Explanation
    may_correct: bool

    @property
    def may_have_arrived(self) -> bool:
        """Did the answer to the last try get lost? Then trying again is only done if somebody asks for it."""
        return self.email.failure_kind == FailureKind.UNCERTAIN

    @property
    def reply(self) -> str:
        """The server's own words."""
        return server_words(self.email, self.attempt)


@dataclass(frozen=True, slots=True)
class Other:
    """A recipient that has not failed, and what happens next."""

    email: Email
    placed: Placed


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message's mail. `failures` and `others` show at most SHOWN each."""

    failures: list[Failure]
    others: list[Other]
    unshown_count: int


def delivery_of(message: Message, member: Member) -> Delivery:
    """The panel of a message as this member sees it."""
    rows = Email.objects.for_member(member).filter(message=message)
    listed = rows.select_related("address", "contact__address", "message__record", "message__author", *LANE)
    failing = rows.filter(state=State.FAILED, ignored_at=None).values("pk")
    failed = list(listed.filter(pk__in=failing).order_by("pk")[:SHOWN])
    others = list(listed.exclude(pk__in=failing).order_by("pk")[:SHOWN])
    total = message.tally.total_count if hasattr(message, "tally") else 0
    steps = steps_of(others)
    placed = [Other(email, steps[email.pk]) for email in others]
    return Delivery(_failures(failed, member), placed, max(0, total - len(failed) - len(others)))


def last_attempts(emails: Iterable[Email]) -> dict[int, Attempt]:
    """The last attempt of each email that had one."""
    attempts = Attempt.objects.filter(email__in=[email.pk for email in emails]).order_by("pk")
    return {attempt.email_id: attempt for attempt in attempts}


def server_words(email: Email, attempt: Attempt | None) -> str:
    """The server's own reply; for a bounce, what the report said."""
    if attempt is None or email.failure_kind == FailureKind.BOUNCED:
        return email.failure_text
    reply = " ".join(str(word) for word in (attempt.code or "", attempt.enhanced, attempt.text) if word)
    return reply or email.failure_text


def _failures(emails: Sequence[Email], member: Member) -> list[Failure]:
    attempts = last_attempts(emails)
    return [_failure(email, attempts.get(email.pk), member) for email in emails]


def _failure(email: Email, attempt: Attempt | None, member: Member) -> Failure:
    return Failure(email, attempt, explain_email(email, attempt), may_correct(member, email))
