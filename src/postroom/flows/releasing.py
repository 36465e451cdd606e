"""Mail: Email Queue Manager: bulk mail leaves in its runs, and whatever else is due is looked after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.db import transaction

from postroom.conversations.models import Message
from postroom.conversations.models.records import Stream
from postroom.flows import mailing_turns
from postroom.outgoing import gates, turns
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Lane
from postroom.outgoing.queue import EmailQuerySet
from postroom.schedule.catalogue import MAIL_QUEUE
from postroom.schedule.triggers import trigger
from postroom.schedule.work import Run

RELEASED = "released emails"


def release_bulk(run: Run) -> Iterator[Mapping[str, int]]:
    """Let the workspace's bulk mail go that is due; mailings only if they are set to leave by this action.

    Wakes the servers of everything that is due, urgent mail included, should a wake-up have been lost.
    """
    workspace_id, now = run.workspace.pk, database_time()
    with transaction.atomic():
        count = gates.release(workspace_id, now)
        mailing_turns.wake(gates.lanes_with_due(Lane.objects.filter(workspace_id=workspace_id), now))
    yield {RELEASED: count} if count else {}
    if turns.is_by_queue(workspace_id):
        yield from mailing_turns.pass_turn(workspace_id)


def ask_for_release(emails: EmailQuerySet) -> None:
    """Let the actions run at once that bulk mail among these Emails waits for.

    Call it last in the transaction that puts them back into the queue.
    """
    lanes = Lane.objects.filter(pk__in=emails.order_by().values("lane_id")).exclude(released_until=None)
    keys = {
        (workspace_id, MAIL_QUEUE if mailing_id is None else turns.action_key(workspace_id))
        for workspace_id, mailing_id in lanes.values_list("workspace_id", "message_id")
    }
    for workspace_id, key in sorted(keys):
        trigger(workspace_id, key)


def ask_at(message: Message) -> None:
    """Let bulk mail that is to leave at a time (`send_at`) find a run then; other mail needs none.

    A mailing finds a run of the action that gives it its turn, at once if it has no time. Call it last in the
    transaction that sets the time.
    """
    if message.stream != Stream.BULK:
        return
    if Lane.objects.filter(message=message).exists():
        trigger(message.workspace_id, turns.action_key(message.workspace_id), message.send_at)
    elif message.send_at is not None:
        trigger(message.workspace_id, MAIL_QUEUE, message.send_at)
