"""The queue, and what was sent, as a page lists them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.conversations.models import Address, Message, Record
from postroom.outgoing.expecting import is_limited
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.outgoing.queue import EmailQuerySet
from postroom.outgoing.turns import awaits_turn
from postroom.web.counting import Count, count_up_to
from postroom.web.failures import last_attempts, server_words
from postroom.web.next_steps import NextStep
from postroom.web.paging import SIZE, newest_first, older
from postroom.web.queue_places import LANE, Placed, steps_of
from postroom.workspaces import parameters
from postroom.workspaces.models import Member

TABS = (State.OUTGOING, State.FAILED, State.SENT, State.CANCELLED)
CAPTURED = {"captured": gettext_lazy("Captured"), "redirected": gettext_lazy("Redirected")}
QUEUED = (State.OUTGOING, State.FAILED, State.CANCELLED)
LOOKED_AT = 1100  # so many sent emails are looked at for those of the last days: more than a tab counts
FOUND = 500  # so many addresses, records and messages a search looks at
_CODES = re.compile(r"(?:[245]\d\d\b)?[ -]*(?:[245]\.\d{1,3}\.\d{1,3}\b)?")


@dataclass(frozen=True, slots=True)
class EmailRow:
    """One email, what happens next to it, and the last reply to it (None: there was none).

    `before` is how many leave before it while it is held, else None.
    """

    email: Email
    next_step: NextStep
    attempt: Attempt | None
    before: Count | None = None

    @property
    def reply(self) -> str:
        """Code and enhanced status of the last reply that was not a yes; for a bounce, of the report.

        Where no reply made it fail, what did.
        """
        if self.email.failure_kind == FailureKind.BOUNCED:
            codes = _CODES.match(self.email.failure_text)
            return (codes[0].strip() if codes else "") or _("bounce")
        if self.email.state == State.SENT:
            return ""
        said = f"{self.attempt.code or ''} {self.attempt.enhanced}".strip() if self.attempt else ""
        is_failed = self.email.state == State.FAILED
        return said or (str(self.email.get_failure_kind_display()) if is_failed else "")

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
        """Does Send Now help? A pause, a limit and a campaign's turn do not yield to it."""
        lane = self.email.lane
        is_kept = lane.is_paused or is_limited(lane, timezone.now()) or awaits_turn(lane)
        return self.may_cancel and not is_kept

    @property
    def may_cancel(self) -> bool:
        """Does Cancel Email apply?"""
        return self.email.state == State.OUTGOING and not self.email.lease


@dataclass(frozen=True, slots=True)
class Tab:
    """One state with how many there are; `state` is "" for all."""

    state: str
    label: str
    count: Count


def of_state(member: Member, state: str, before: str | None = None) -> QuerySet[Email]:
    """The emails of one state, as its tab lists them; of Sent enough for a page behind the id `before`.

    Urgent mail that waits shows if a first try failed, or if it is held; what was sent, for some days.
    """
    rows = Email.objects.for_member(member)
    if state in CAPTURED:
        return rows.captured() if state == "captured" else rows.redirected()
    rows = rows.filter(state=state)
    return _sent_lately(rows, member, before) if state == State.SENT else rows.listed()


def _sent_lately(sent: EmailQuerySet, member: Member, before: str | None) -> QuerySet[Email]:
    """What left within `mail.vacuum.sent_days`; of so many rows at most that a long history costs no more."""
    since = timezone.now() - timedelta(days=sent_days(member))
    newest = older(sent, before).order_by("-pk").values("pk")[:LOOKED_AT]
    return Email.objects.filter(pk__in=newest).exclude(sent_at__lt=since)


def sent_days(member: Member) -> int:
    """For how many days the page lists what was sent; a search finds what is older."""
    days: int = parameters.value(member.workspace_id, "mail.vacuum.sent_days")
    return days


def tabs(member: Member) -> list[Tab]:
    """The states with their counts; what capture mode did only where it did something."""
    by_capture = [Tab(key, str(label), _count(member, key)) for key, label in CAPTURED.items()]
    of_states = [Tab(str(state), str(state.label), _count(member, state)) for state in TABS]
    return of_states + [tab for tab in by_capture if tab.count]


def _count(member: Member, state: str) -> Count:
    return count_up_to(1000, of_state(member, state))


def matching(member: Member, *, state: str, wanted: str, before: str | None = None) -> QuerySet[Email]:
    """The queue (all but what was sent) or one state; with `wanted`, what matches it, sent or not.

    Enough for one page: at most so many rows of each state as a page has, those before the id `before`.
    """
    if wanted:
        parts = _of_search(member, wanted, [state] if state in State.values else TABS)
    else:
        is_one = state in State.values or state in CAPTURED
        parts = [of_state(member, each, before) for each in ([state] if is_one else QUEUED)]
    pages = [older(part, before).order_by("-pk").values_list("pk", flat=True)[: SIZE + 1] for part in parts]
    found = {pk for page in pages for pk in page}
    return Email.objects.for_member(member).filter(pk__in=heapq.nlargest(SIZE + 1, found))


def _of_search(member: Member, wanted: str, states: Sequence[str]) -> list[QuerySet[Email]]:
    """By address and by message: the workspace is not named again, so that their indexes are used."""
    rows = (Email.objects.listed() | Email.objects.filter(state=State.SENT)).filter(state__in=states)
    return [
        rows.filter(address_id__in=_addresses(member, wanted)),
        rows.filter(message_id__in=_messages(member, wanted)),
    ]


def _addresses(member: Member, wanted: str) -> list[int]:
    rows = Address.objects.filter(workspace_id=member.workspace_id, addr_spec__icontains=wanted.lower())
    return list(rows.order_by("-pk").values_list("pk", flat=True)[:FOUND])


def _messages(member: Member, wanted: str) -> list[int]:
    """The newest messages of that subject, and the newest on the records of that title."""
    rows = Message.objects.for_member(member)
    records = Record.objects.for_member(member).filter(title__icontains=wanted)
    newest = list(records.order_by("-pk").values_list("pk", flat=True)[:FOUND])
    return [
        pk
        for part in (rows.filter(subject__icontains=wanted), rows.filter(record_id__in=newest))
        for pk in part.order_by("-pk").values_list("pk", flat=True)[:FOUND]
    ]


def rows_of(emails: QuerySet[Email], before: str | None = None) -> tuple[list[EmailRow], int | None]:
    """A page of rows and where the next one begins."""
    listed = emails.select_related("message__record", "address", "contact", *LANE)
    found = newest_first(listed, before)
    attempts, steps = last_attempts(found.rows), steps_of(found.rows)
    return [_row(email, steps[email.pk], attempts) for email in found.rows], found.before


def _row(email: Email, placed: Placed, attempts: dict[int, Attempt]) -> EmailRow:
    return EmailRow(email, placed.step, attempts.get(email.pk), placed.before)
