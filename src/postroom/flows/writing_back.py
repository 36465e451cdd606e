"""What a drain does with the database: keep captured mail in, write outcomes back, tell whom they concern."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from postroom.conversations.models import Message
from postroom.diagnostics.events import EventKind, note
from postroom.flows.telling import tell_failures
from postroom.outgoing import holds, settling
from postroom.outgoing.claiming import Claimed
from postroom.outgoing.retry import RetryPolicy
from postroom.outgoing.settling import Ended
from postroom.workspaces import installation, parameters


def clock() -> datetime:
    """The time that outcomes are dated with."""
    return timezone.now()


def policy_of(workspace_id: int) -> RetryPolicy:
    """The workspace's gaps and deadline, from its System Parameters."""
    gaps = parameters.value(workspace_id, "mail.retry.gaps_seconds")
    hours = parameters.value(workspace_id, "mail.retry.deadline_hours")
    return RetryPolicy(tuple(gaps), timedelta(hours=hours))


def without_captured(lease: str, emails: Sequence[Claimed]) -> list[Claimed]:
    """Cancel what a capturing workspace or installation would have sent; return the rest."""
    workspace_ids = {email.workspace_id for email in emails}
    capturing = {pk for pk in workspace_ids if installation.is_capturing(pk)}
    if capturing:
        _capture(lease, [email for email in emails if email.workspace_id in capturing])
    return [email for email in emails if email.workspace_id not in capturing]


def _capture(lease: str, emails: Sequence[Claimed]) -> None:
    with transaction.atomic():
        counts = settling.capture(lease, emails)
        for message in Message.objects.filter(pk__in=counts).select_related("workspace"):
            note(EventKind.CAPTURED, workspace=message.workspace, message=message, count=counts[message.pk])


def write_back(lease: str, ended: Sequence[Ended], unsendable: Sequence[tuple[Claimed, str]]) -> None:
    """Settle what a lease's worker brought back, and tell of every new Delivery Failed."""
    policies: dict[int, RetryPolicy] = {}

    def policy(workspace_id: int) -> RetryPolicy:
        if workspace_id not in policies:
            policies[workspace_id] = policy_of(workspace_id)
        return policies[workspace_id]

    failed: set[int] = set()
    if ended:
        failed |= settling.settle(lease, ended, now=clock(), policy_of=policy).failed_message_ids
    if unsendable:
        failed |= settling.give_up(lease, unsendable).failed_message_ids
    tell(failed)


def tell(message_ids: set[int] | frozenset[int]) -> None:
    """Tell whom it concerns of new failures in these messages."""
    if message_ids:
        tell_failures(Message.objects.filter(pk__in=message_ids))


def server_was_reached(server_id: int) -> None:
    """Open the lanes that were held because of this server."""
    holds.reopen(server_id)
