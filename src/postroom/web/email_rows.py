"""The queue as a page lists it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone

from postroom.outgoing.models import Attempt, Email, State
from postroom.web.counting import Count, count_up_to
from postroom.web.failures import last_attempts, server_words
from postroom.web.next_steps import NextStep, next_step
from postroom.web.paging import newest_first
from postroom.workspaces.models import Member

TABS = (State.OUTGOING, State.FAILED, State.SENT, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class EmailRow:
    """One email, what happens next to it, and the last reply to it (None: there was none)."""

    email: Email
    next_step: NextStep
    attempt: Attempt | None

    @property
    def reply(self) -> str:
        """Code and enhanced status of the last reply that was not a yes."""
        if self.attempt is None or self.email.state == State.SENT:
            return ""
        return f"{self.attempt.code or ''} {self.attempt.enhanced}".strip()

    @property
    def server_words(self) -> str:
        """The whole of it."""
        return server_words(self.email, self.attempt)

    @property
    def may_retry(self) -> bool:
        """Does the Retry button apply?"""
        return self.email.state in (State.FAILED, State.CANCELLED)

    @property
    def may_hurry(self) -> bool:
        """Do Send Now and Cancel Email apply?"""
        return self.email.state == State.OUTGOING and not self.email.lease


@dataclass(frozen=True, slots=True)
class Tab:
    """One state with how many there are; `state` is "" for all."""

    state: str
    label: str
    count: Count


def listed(member: Member) -> QuerySet[Email]:
    """What the queue shows. Urgent mail that left at the first try, and sent mail, leave it by themselves."""
    return Email.objects.for_member(member).filter(is_listed=True)


def tabs(member: Member) -> list[Tab]:
    """The states with their counts."""
    return [
        Tab(str(state), str(state.label), count_up_to(999, listed(member).filter(state=state)))
        for state in TABS
    ]


def matching(member: Member, *, state: str, wanted: str) -> QuerySet[Email]:
    """The queue, or a state of it, or what matches a search by subject, record or address."""
    rows = listed(member).filter(state=state) if state in State.values else listed(member)
    if wanted:
        in_message = Q(message__subject__icontains=wanted) | Q(message__record__title__icontains=wanted)
        rows = rows.filter(in_message | Q(address__addr_spec__icontains=wanted.lower()))
    return rows


def rows_of(emails: QuerySet[Email], before: str | None = None) -> tuple[list[EmailRow], int | None]:
    """A page of rows and where the next one begins."""
    found = newest_first(emails.select_related("message__record", "address", "contact", "lane"), before)
    attempts = last_attempts(found.rows)
    now = timezone.now()
    return [_row(email, attempts, now) for email in found.rows], found.before


def _row(email: Email, attempts: dict[int, Attempt], now: datetime) -> EmailRow:
    return EmailRow(email, next_step(email, now), attempts.get(email.pk))
