"""Emails whose time is over while their server is out of reach: they fail, and their attempts say why."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from postroom.outgoing import claiming
from postroom.outgoing.holds import SERVER_UNREACHABLE
from postroom.outgoing.models import Email, Lane, MailServer, State
from postroom.outgoing.retry import PolicyOf
from postroom.outgoing.settling import Ended, Settlement, Tell, settle, tell_nobody
from postroom.wire.reply import Outcome, Reply

GROUP = 500
MOST_GROUPS = 20  # of one server at a time; it is asked again when its hold ends


def expire_unreached(
    server: MailServer, now: datetime, policy_of: PolicyOf, *, tell: Tell = tell_nobody
) -> Iterator[Settlement]:
    """Fail what waited for this server beyond its deadline, as expired; one Settlement per group written.

    The time of an Email that was never tried runs from when it was due, but at the earliest from when the
    server began to fail: what was held for another reason was not waiting for the server.
    """
    groups = 0
    for lane in Lane.objects.filter(
        server=server, via=None, is_paused=False, held_because=SERVER_UNREACHABLE
    ):
        by = _Settling(policy_of, tell, policy_of(lane.workspace_id, lane.stream).deadline)
        while groups < MOST_GROUPS and (settled := _expire_group(server, lane, now, by)):
            groups += 1
            yield settled


class _Settling(NamedTuple):
    policy_of: PolicyOf
    tell: Tell
    deadline: timedelta


def _expire_group(server: MailServer, lane: Lane, now: datetime, by: _Settling) -> Settlement | None:
    lease, deadline = uuid.uuid4().hex, by.deadline
    if server.failing_since is None or server.failing_since > now - deadline:
        return None
    with transaction.atomic():
        if not _lease(lane, lease, now, now - deadline):
            return None
        words = Reply(0, None, server.last_failure)
        ended = [
            # The daily limit gets nothing back: what it counts is an earlier attempt that may have arrived.
            Ended(email._replace(first_attempt_at=now - deadline, quota_day=None), Outcome.UNREACHABLE, words)
            for email in claiming.held_under(lease)
        ]
        return settle(lease, ended, now=now, policy_of=by.policy_of, tell=by.tell)


def _lease(lane: Lane, lease: str, now: datetime, since: datetime) -> int:
    """Take a group of them in hand; nobody else claims them while their lane is held."""
    waiting = Email.objects.filter(
        lane=lane, state=State.OUTGOING, lease="", due_at__lte=min(now, lane.released_until or now)
    )
    late = waiting.annotate(began_at=Coalesce("first_attempt_at", "due_at")).filter(began_at__lte=since)
    some = late.order_by("due_at", "pk").values_list("pk", flat=True)[:GROUP]
    until = now + timedelta(seconds=claiming.LEASE_SECONDS)
    still = Q(pk__in=list(some), state=State.OUTGOING, lease="")
    return Email.objects.filter(still).update(lease=lease, leased_until=until)
