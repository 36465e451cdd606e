"""Mail Marketing: Process queue: mailings leave one after another, the earliest written first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from django.db import transaction

from postroom import engine
from postroom.outgoing import turns
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Lane
from postroom.outgoing.queue import EmailQuerySet
from postroom.schedule.catalogue import MAILING_QUEUE
from postroom.schedule.triggers import trigger
from postroom.schedule.work import Run
from postroom.workspaces.models import Workspace

FINISHED, STARTED = "finished campaigns", "started campaigns"
LEFT = "campaigns left to Mail: Email Queue Manager"


def take_turns(run: Run) -> Iterator[Mapping[str, int]]:
    """Give the next mailing its turn if none has it.

    Does nothing, and says so, where mailings leave by the Email Queue Manager (`turns.BY_QUEUE`).
    """
    workspace_id = run.workspace.pk
    if turns.is_by_queue(workspace_id):
        head = turns.head_of(workspace_id, database_time())
        yield {LEFT: 1} if head is not None else {}
        return
    yield from pass_turn(workspace_id)


def pass_turn(workspace_id: int) -> Iterator[Mapping[str, int]]:
    """End the turns that are over and begin the next, unless one is not over.

    One that has its turn gets it in lanes that came later, too. Where nothing is due yet, the workspace's
    action runs again when the first is.
    """
    with transaction.atomic():
        _lock(workspace_id)
        ended_count = turns.end_finished(workspace_id)
        head = turns.head_of(workspace_id, database_time())
        if head is not None:
            wake(turns.begin(head.message_id))
        elif (next_at := turns.next_due_at(workspace_id)) is not None:
            trigger(workspace_id, turns.action_key(workspace_id), next_at)
    done = {FINISHED: ended_count, STARTED: int(head is not None and not head.has_begun)}
    yield {what: count for what, count in done.items() if count}


def ask_for_turns(emails: EmailQuerySet) -> None:
    """After Emails were taken out of the queue: a mailing may be through by that."""
    rows = Lane.objects.filter(pk__in=emails.order_by().values("lane_id"), message__isnull=False)
    for workspace_id in sorted(set(rows.values_list("workspace_id", flat=True))):
        trigger(workspace_id, turns.action_key(workspace_id))


def go_on() -> None:
    """Where a mailing is through, let the next one have its turn at once."""
    for workspace_id in turns.workspaces_to_go_on():
        with transaction.atomic():
            trigger(workspace_id, MAILING_QUEUE)


def _lock(workspace_id: int) -> None:
    """Two actions may give turns; one at a time does."""
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace_id)


def wake(lanes: Iterable[Lane]) -> None:
    """Wake whoever carries these lanes, once the transaction has ended."""
    for name in {f"server:{lane.via_id or lane.server_id}" for lane in lanes}:
        transaction.on_commit(lambda name=name: engine.wake(name))  # type: ignore[misc]
