"""Workspaces and servers with limits, a clock that is moved by hand, and workers that answer at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from postroom.conversations.models.records import Stream
from postroom.outgoing import allowances
from postroom.outgoing.claiming import Claim, Claimed, claim
from postroom.outgoing.models import Email, Lane, MailServer
from postroom.outgoing.relays import shared_server
from postroom.outgoing.retry import RetryPolicy
from postroom.outgoing.settling import Ended, Settlement, settle
from postroom.wire.reply import Outcome, Reply
from postroom.workspaces import plans
from postroom.workspaces.models import Plan, Workspace

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
RESET = datetime(2026, 3, 28, 23, tzinfo=UTC)
DUE = datetime(2026, 1, 1, tzinfo=UTC)
REPLIES = {
    Outcome.ACCEPTED: Reply(250, None, "Ok"),
    Outcome.DEFERRED: Reply(450, None, "later"),
    Outcome.REFUSED: Reply(550, None, "no"),
}


def limit(workspace: Workspace, figure: int | None) -> None:
    """Give a workspace this daily limit (None: none)."""
    workspace.plan, workspace.daily_limit = Plan.PAID if figure else Plan.UNLIMITED, figure
    workspace.save(update_fields=["plan", "daily_limit"])


def take(
    lease: str = "mine", now: datetime = NOON, server: MailServer | None = None, **options: Any
) -> Claim:
    """One claim at a time of the test's own."""
    return claim((server or shared_server()).pk, lease, now=now, **options)


def end(
    emails: tuple[Claimed, ...], outcome: Outcome, lease: str = "mine", now: datetime = NOON
) -> Settlement:
    """Let all these attempts end alike."""
    ended = [Ended(email, outcome, REPLIES.get(outcome)) for email in emails]
    return settle(lease, ended, now=now, policy_of=policy_of)


def policy_of(workspace_id: int, stream: str) -> RetryPolicy:
    """The same for all."""
    return RetryPolicy()


def used(workspace: Workspace, now: datetime = NOON) -> int:
    """What is used of the day's limit."""
    return allowances.used_today(workspace.pk, now)


def consumed(workspace: Workspace, now: datetime = NOON) -> int:
    """How many Emails are marked with the day."""
    return Email.objects.filter(workspace=workspace, quota_day=plans.quota_day(now)).count()


def holds(workspace: Workspace, server: MailServer | None = None) -> dict[str, tuple[str, datetime | None]]:
    """Why and until when each stream's lane for a server (the shared relay) is held."""
    lanes = Lane.objects.filter(workspace=workspace, server=server or shared_server())
    rows = lanes.values_list("stream", "held_because", "held_until")
    return {stream: (because, until) for stream, because, until in rows}


def own_server(workspace: Workspace, **fields: object) -> MailServer:
    """A server of the workspace's own."""
    return MailServer.objects.create(workspace=workspace, name="own", host="mail.example", **fields)


def lane_over(workspace: Workspace, server: MailServer, stream: Stream = Stream.URGENT) -> Lane:
    """The lane of a stream for a server."""
    return Lane.objects.get_or_create(workspace=workspace, server=server, stream=stream, message=None)[0]
