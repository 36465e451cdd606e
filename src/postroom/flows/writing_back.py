"""What a drain does with the database: keep captured mail in, write outcomes back, tell whom they concern."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from postroom.conversations.models import Message
from postroom.conversations.models.records import Stream
from postroom.diagnostics import mail_log
from postroom.diagnostics.events import EventKind, note
from postroom.flows import limits
from postroom.flows.telling import tell_failures
from postroom.outgoing import capturing, holds, late_replies, settling
from postroom.outgoing.claiming import Claim, Claimed
from postroom.outgoing.models import MailServer
from postroom.outgoing.retry import RetryPolicy
from postroom.outgoing.settling import Ended
from postroom.workspaces import parameters
from postroom.workspaces.capture_rules import Capture

REACHED_IS_FRESH = timedelta(minutes=1)


def clock() -> datetime:
    """The time that outcomes are dated with."""
    return timezone.now()


def policy_of(workspace_id: int, stream: str) -> RetryPolicy:
    """The gaps and the deadline of a stream, from the workspace's System Parameters."""
    bulk = "bulk_" if stream == Stream.BULK else ""
    gaps = parameters.value(workspace_id, f"mail.retry.{bulk}gaps_seconds")
    hours = parameters.value(workspace_id, f"mail.retry.{bulk}deadline_hours")
    return RetryPolicy(tuple(gaps), timedelta(hours=hours))


def without_captured(lease: str, emails: Sequence[Claimed], captures: Mapping[int, Capture]) -> list[Claimed]:
    """Cancel what capture mode keeps in; return the rest, each with the address that gets it in its place."""
    if not emails:
        return []
    kept, leaving = capturing.divide(emails, captures)
    capturing.write_redirections(lease, emails, leaving)
    if kept:
        _capture(lease, kept, captures)
    return leaving


def _capture(lease: str, emails: Sequence[Claimed], captures: Mapping[int, Capture]) -> None:
    with transaction.atomic():
        counts = settling.capture(lease, emails)
        for message in Message.objects.filter(pk__in=counts).select_related("workspace"):
            capture = captures[message.workspace_id]
            note(
                EventKind.CAPTURED,
                workspace=message.workspace,
                message=message,
                count=counts[message.pk],
                mode=capture.mode,
                level=capture.level,
            )
    mail_log.kept_in((email, captures[email.workspace_id].mode) for email in emails)


def write_back(lease: str, ended: Sequence[Ended], unsendable: Sequence[tuple[Claimed, str]]) -> None:
    """Settle what a lease's worker brought back, and tell of every new Delivery Failed."""
    if ended:
        now = clock()
        settlement = settling.settle(lease, ended, now=now, policy_of=functools.cache(policy_of), tell=tell)
        mail_log.attempts(ended, now, settlement.verdicts)
        if settlement.count < len(ended):  # the lease of some was over
            late_replies.resolve(ended, clock())
    if unsendable:
        settling.give_up(lease, unsendable, tell=tell)
        mail_log.unsendable(unsendable)


def tell(message_ids: frozenset[int]) -> None:
    """Tell whom it concerns of new failures in these messages."""
    if message_ids:
        tell_failures(Message.objects.filter(pk__in=message_ids))


def tell_of_limits(got: Claim) -> None:
    """Tell whom it concerns that a daily limit is nearly or wholly used up."""
    limits.tell_crossings(got.crossings)
    for crossing in got.crossings:
        mail_log.limit_reached(crossing.workspace_id, is_all=crossing.is_all)
    if got.failed_message_ids and mail_log.is_open():
        for message in Message.objects.filter(pk__in=got.failed_message_ids).select_related("workspace"):
            mail_log.turned_away(message)


def server_was_reached(server: MailServer, max_octets: int | None) -> None:
    """Open the lanes that waited for this server, and note when it let us in and which SIZE it told.

    `server` is as it was before; where nothing changed and that was a moment ago, nothing is written.
    """
    now = clock()
    if server.failure_count or server.down_until or server.down_because:
        holds.reopen(server.pk)
    is_noted = server.last_reached_at is not None and now - server.last_reached_at < REACHED_IS_FRESH
    if not is_noted or server.announced_size != max_octets:
        MailServer.objects.filter(pk=server.pk).update(last_reached_at=now, announced_size=max_octets)
