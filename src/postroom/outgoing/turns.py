"""Mailings leave strictly one after another: in the order in which their messages were written.

A mailing's Emails wait in lanes of its own (`Lane.message`). Its turn is their gate, opened for good; as long
as any Email of it is Outgoing no other mailing of the workspace gets one, and a paused one keeps its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from postroom.conversations.models import Message
from postroom.outgoing import gates
from postroom.outgoing.models import Email, Lane
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


def begin(message_id: int) -> list[Lane]:
    """Give a mailing its turn; returns its lanes."""
    lanes = Lane.objects.filter(message=message_id)
    lanes.update(released_until=gates.FOR_GOOD)
    return list(lanes)


def end_finished(workspace_id: int, now: datetime) -> int:
    """End the turns of mailings of which nothing waits any more; returns how many did."""
    finished = _finished().filter(workspace_id=workspace_id)
    count = finished.values("message_id").distinct().count()
    Lane.objects.filter(pk__in=list(finished.values_list("pk", flat=True))).update(released_until=now)
    return count


def workspaces_to_go_on() -> Iterable[int]:
    """Those in which a mailing is finished that has its turn, and an action waits to give it to the next."""
    by_queue = SystemParameter.objects.filter(key=BY_QUEUE, value="on").values("workspace_id")
    rows = _finished().exclude(workspace_id__in=by_queue)
    return list(rows.values_list("workspace_id", flat=True).distinct())


def _finished() -> QuerySet[Lane]:
    """Found along the index of messages: few lanes have one."""
    return Lane.objects.filter(
        message__isnull=False, released_until__gte=gates.FOR_GOOD, message__tally__outgoing_count=0
    )
