"""Mailings leave strictly one after another: in the order in which their messages were written.

A mailing's Emails wait in lanes of its own (`Lane.message`). Its turn is their gate, opened for good; as long
as any Email of it is Outgoing no other mailing of the workspace gets one, and a paused one keeps its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet, Subquery

from postroom.conversations.models import Message
from postroom.outgoing import gates
from postroom.outgoing.models import Email, Lane, Tally
from postroom.schedule.catalogue import MAIL_QUEUE, MAILING_QUEUE
from postroom.workspaces import parameters
from postroom.workspaces.models import SystemParameter

BY_QUEUE = "mail.campaigns.by_queue"
_HAS_TURN = Q(released_until=None) | Q(released_until__gte=gates.FOR_GOOD)


class Turn(NamedTuple):
    """The mailing that leaves first, by its message; `has_begun`: it has its turn already."""

    message_id: int
    subject: str
    has_begun: bool


def action_key(workspace_id: int) -> str:
    """Which scheduled action gives the workspace's mailings their turn."""
    return MAIL_QUEUE if is_by_queue(workspace_id) else MAILING_QUEUE


def is_by_queue(workspace_id: int) -> bool:
    """Does the Email Queue Manager give mailings their turn, instead of an action of their own?"""
    return bool(parameters.value(workspace_id, BY_QUEUE))


def awaits_turn(lane: Lane) -> bool:
    """Does a mailing wait here that has not got its turn?"""
    until = lane.released_until
    return lane.message_id is not None and until is not None and until < gates.FOR_GOOD


def head_of(workspace_id: int, now: datetime) -> Turn | None:
    """The mailing that has the turn or, if none has, the one that is next; None: no mailing waits."""
    begun = Lane.objects.filter(_HAS_TURN, message=OuterRef("pk"))
    due = Email.objects.waiting().filter(lane=OuterRef("pk"), due_at__lte=now)
    waiting = Lane.objects.filter(Exists(due), message=OuterRef("pk"))  # along the index of what waits
    rows = (
        Message.objects.filter(workspace_id=workspace_id, lanes__isnull=False, tally__outgoing_count__gt=0)
        .annotate(has_begun=Exists(begun))
        .filter(Q(has_begun=True) | Exists(waiting))
    )
    order = (F("has_begun").desc(), "created_at", "pk")
    head = rows.order_by(*order).values_list("pk", "subject", "has_begun").first()
    return None if head is None else Turn(head[0], head[1], bool(head[2]))


def next_due_at(workspace_id: int) -> datetime | None:
    """When the first Email of the workspace's mailings is due that waits; None: none waits."""
    waiting = Email.objects.waiting().filter(lane=OuterRef("pk")).order_by("due_at").values("due_at")
    lanes = Lane.objects.filter(workspace_id=workspace_id, message__tally__outgoing_count__gt=0)
    first: datetime | None = lanes.aggregate(first=Min(Subquery(waiting[:1])))["first"]
    return first


def begin(message_id: int) -> list[Lane]:
    """Give a mailing its turn, in whichever of its lanes it has none; returns those."""
    shut = list(Lane.objects.filter(message=message_id).exclude(_HAS_TURN).order_by("pk"))
    Lane.objects.filter(pk__in=[lane.pk for lane in shut]).update(released_until=gates.FOR_GOOD)
    return shut


def end_finished(workspace_id: int) -> int:
    """End the turns of mailings of which nothing waits any more; returns how many did.

    Must run in a transaction: its locks on their tallies let no Retry put anything back meanwhile. Where one
    has just done so, the turn goes on.
    """
    candidates = _begun().filter(workspace_id=workspace_id, message__tally__outgoing_count=0)
    tallies = Tally.objects.filter(pk__in=set(candidates.values_list("message_id", flat=True)))
    locked = list(tallies.select_for_update().order_by("pk").values_list("pk", "outgoing_count"))
    finished = [message_id for message_id, outgoing_count in locked if outgoing_count == 0]
    _begun().filter(message__in=finished).update(released_until=gates.shut_at())
    return len(finished)


def workspaces_to_go_on() -> Iterable[int]:
    """Those in which a mailing that has its turn is finished, or has got a lane that is still shut.

    Not where the Email Queue Manager gives the turns: there they go on with its next run.
    """
    by_queue = SystemParameter.objects.filter(key=BY_QUEUE, value="on").values("workspace_id")
    shut = Lane.objects.filter(message=OuterRef("message_id"), released_until__lt=gates.FOR_GOOD)
    rows = _begun().filter(Q(message__tally__outgoing_count=0) | Exists(shut))
    return list(rows.exclude(workspace_id__in=by_queue).values_list("workspace_id", flat=True).distinct())


def _begun() -> QuerySet[Lane]:
    """Found along the index of messages: few lanes have one."""
    return Lane.objects.filter(message__isnull=False, released_until__gte=gates.FOR_GOOD)
