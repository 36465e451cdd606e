"""Auto-Vacuum: once a day, what nobody can need any more goes, in small steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery

from postroom.conversations.models import Notification
from postroom.conversations.models.messages import READ_KEPT
from postroom.diagnostics.events import EventKind
from postroom.diagnostics.models import Event
from postroom.flows import scheduling, sweeping
from postroom.flows.rounds import STEP, Rounds
from postroom.incoming.log import NOT_TAKEN, REFUSALS_KEPT
from postroom.incoming.models import ReceivedEmail
from postroom.outgoing.choosing import Rule
from postroom.outgoing.models import Attempt, Email, Rendition, State, Tally
from postroom.schedule.models import Trigger
from postroom.schedule.work import Run
from postroom.workspaces import parameters
from postroom.workspaces.models import IdempotentRequest

log = logging.getLogger("postroom.vacuuming")
REQUESTS_KEPT = timedelta(hours=24)
TRIGGERS_KEPT = timedelta(days=7)
Counts = Mapping[str, int]
TEXTS, ATTEMPTS = "texts of sent messages removed", "old attempts removed"
EVENTS, NOTICES = "old events removed", "read notifications removed"
REFUSALS = "old refusals removed from the incoming log"
REQUESTS = "answers to repeated requests forgotten"
SCHEDULED = "settled scheduled messages removed"
TRIGGERS = "stale triggers removed"

#: What tells how a message went out, and answers no question any more once it is long settled. The others
#: stay: why somebody was not told, who cancelled, who follows since when, and every decision on settings.
PASSING = frozenset(
    {
        EventKind.ROUTE,
        EventKind.CAPTURED,
        EventKind.SCHEDULED,
        EventKind.MOVED,
        EventKind.RETRIED,
        EventKind.SENT_NOW,
        EventKind.CORRECTED,
        EventKind.IGNORED,
        EventKind.BOUNCED,
        EventKind.DELAYED,
        EventKind.DELIVERED,
        EventKind.RELAYED,
        EventKind.OUTDATED_BOUNCE,
        EventKind.UNVERIFIED_BOUNCE,
    }
)


class StepsFailed(Exception):
    """Some steps could not be done; the message names them, the log says why. The others were done."""


def vacuum(run: Run) -> Iterator[Counts]:
    """Do every step for the workspace of the run, each in transactions of its own of at most `STEP` rows.

    A step that fails is logged and left, and the others go on. Raises StepsFailed at the end if one did.
    """
    failed, rounds = [], Rounds(run)
    for step in _STEPS:
        try:
            yield from step(run, rounds)
        except Exception:  # whatever one step stumbles over, the others make room
            name = step.__name__.replace("_", " ")
            log.exception("Auto-Vacuum of workspace %s: could not %s", run.workspace.slug, name)
            failed.append(name)
    if failed:
        raise StepsFailed(f"Could not {', '.join(failed)}; the log of the server says why.")


def empty_renditions(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Empty the texts of messages that were Sent to everybody, `mail.vacuum.sent_days` after the last of it.

    Whatever failed, was cancelled or waits may be sent again, and keeps its octets. The row stays: it says
    From and return path of what was sent.
    """
    before = _before(run, "mail.vacuum.sent_days")
    rows = Rendition.objects.filter(workspace=run.workspace)
    columns = ("created_at", "message_id", "message__send_at")
    for group in rounds.old("renditions", rows, columns, lambda row: row[1] < before):
        due = {message_id for _, _, message_id, send_at in group if send_at is None or send_at < before}
        full = Rendition.objects.filter(pk__in=[row[0] for row in group], message__in=due).exclude(octets=b"")
        yield _counted(TEXTS, _empty(full, before))


def _empty(full: QuerySet[Rendition], before: datetime) -> int:
    """Only what is not empty yet is looked at, and without a lock: a message may have a million Emails."""
    message_ids = set(full.values_list("message_id", flat=True))
    # One value a message: of a plain EXISTS the planner makes one walk through everybody's Emails.
    sent_since = Email.objects.filter(message=OuterRef("pk"), sent_at__gte=before).values("pk")[:1]
    tallies = Tally.objects.filter(_ALL_SENT)
    settled = tallies.filter(pk__in=message_ids).annotate(sent_since=Subquery(sent_since))
    old = list(settled.filter(sent_since=None).values_list("pk", flat=True))
    with transaction.atomic():
        locked = tallies.filter(pk__in=old).select_for_update().order_by("pk")
        return full.filter(message__in=list(locked.values_list("pk", flat=True))).update(octets=b"")


_ALL_SENT = Q(outgoing_count=0, failed_count=0, ignored_count=0, cancelled_count=0)


def remove_attempts(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Leave of each settled Email's attempts older than `mail.vacuum.attempts_days` only the last one.

    That one is the record of its delivery. What waits or is red keeps them all.
    """
    before = _before(run, "mail.vacuum.attempts_days")
    for state, settled in _settled(run).items():
        columns = ("created_at", "attempt_count")
        for group in rounds.old(f"attempts.{state}", settled, columns, lambda row: row[1] < before):
            tried_again = [pk for pk, _, attempt_count in group if attempt_count > 1]
            yield _counted(ATTEMPTS, _thin_out(settled, tried_again, before) if tried_again else 0)


def _settled(run: Run) -> dict[str, QuerySet[Email]]:
    rows = Email.objects.filter(workspace=run.workspace)
    ignored = rows.filter(state=State.FAILED, ignored_at__isnull=False)
    return {
        State.SENT: rows.filter(state=State.SENT),
        State.CANCELLED: rows.filter(state=State.CANCELLED),
        State.FAILED: ignored,
    }


def _thin_out(settled: QuerySet[Email], email_ids: list[int], before: datetime) -> int:
    """Look at them again under their locks: somebody may just have pressed Retry."""
    with transaction.atomic():
        locked = settled.filter(pk__in=email_ids).select_for_update(of=("self",), skip_locked=True)
        still = list(locked.order_by("pk").values_list("pk", flat=True))
        attempts = Attempt.objects.filter(email__in=still).order_by("email_id", "number", "pk")
        rows = list(attempts.values_list("pk", "email_id", "at"))
        old = [row[0] for row, later in pairwise(rows) if row[1] == later[1] and row[2] < before]
        return _delete(Attempt.objects.filter(pk__in=old))


def remove_events(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Remove what tells how a message went out, after `mail.vacuum.events_days` and if it is settled.

    What answers a question for good stays with the message: who was not told and why, who cancelled it. That
    its server was named stays for as long as anything of it may be sent again, by that server. What belongs
    to no message, such as decisions on limits and members, stays with the workspace.
    """
    before = _before(run, "mail.vacuum.events_days")
    rows = Event.objects.filter(workspace=run.workspace)
    columns = ("at", "message_id", "kind", "detail__rule")
    for group in rounds.old("events", rows, columns, lambda row: row[1] < before):
        passing = {row[0]: row[2] for row in group if row[2] is not None and row[3] in PASSING}
        named = {row[2] for row in group if row[4] == Rule.FIXED}
        kept = _kept(set(passing.values()), named) if passing else set()
        old = [pk for pk, message_id in passing.items() if message_id not in kept]
        yield _counted(EVENTS, _delete(Event.objects.filter(pk__in=old)))


def _kept(message_ids: set[int], named: set[int]) -> set[int]:
    """The messages of which something waits or is red or, if their server was `named`, may be sent again."""
    unsettled = Q(outgoing_count__gt=0) | Q(failed_count__gt=0) | (Q(pk__in=named) & ~_ALL_SENT)
    return set(Tally.objects.filter(unsettled, pk__in=message_ids).values_list("pk", flat=True))


def remove_notifications(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Remove what members have read in Postroom, half a year later."""
    before = run.now - READ_KEPT
    rows = Notification.objects.filter(workspace=run.workspace)
    for group in rounds.old("notifications", rows, ("created_at", "read_at"), lambda row: row[1] < before):
        old = [pk for pk, _, read_at in group if read_at is not None and read_at < before]
        yield _counted(NOTICES, _delete(Notification.objects.filter(pk__in=old)))


def remove_refusals(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Remove the lines of the incoming log that tell of mail that was not taken, half a year later.

    Those of mail that was taken stay: by them the same mail is known if it comes again.
    """
    before = run.now - REFUSALS_KEPT
    refused = ReceivedEmail.objects.filter(workspace=run.workspace, state__in=NOT_TAKEN, spooled=None)
    for group in rounds.old("refusals", refused, ("received_at",), lambda row: row[1] < before):
        yield _counted(REFUSALS, _delete(ReceivedEmail.objects.filter(pk__in=[row[0] for row in group])))


def forget_requests(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Forget the answers to requests with an Idempotency-Key after a day."""
    rows = IdempotentRequest.objects.filter(workspace=run.workspace, created_at__lt=run.now - REQUESTS_KEPT)
    return _all_of(REQUESTS, rows)


def forget_scheduled_messages(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Drop what was posted, called off or undone some time ago."""
    return _all_of(SCHEDULED, scheduling.settled_long_ago(run.workspace.pk))


def drop_triggers(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Drop triggers that made nothing run for a week: their action is switched off."""
    rows = Trigger.objects.filter(action__workspace=run.workspace, at__lt=run.now - TRIGGERS_KEPT)
    return _all_of(TRIGGERS, rows)


def sweep_files(run: Run, rounds: Rounds) -> Iterator[Counts]:
    """Remove the files that nothing refers to."""
    return sweeping.sweep(run, rounds)


#: The files come last, because what the other steps remove may have referred to them.
_STEPS: tuple[Callable[[Run, Rounds], Iterator[Counts]], ...] = (
    empty_renditions,
    remove_attempts,
    remove_events,
    remove_notifications,
    remove_refusals,
    forget_requests,
    forget_scheduled_messages,
    drop_triggers,
    sweep_files,
)


def _before(run: Run, key: str) -> datetime:
    days: int = parameters.value(run.workspace.pk, key)
    return run.now - timedelta(days=days)


def _all_of(what: str, rows: QuerySet[Any]) -> Iterator[Counts]:
    """Delete everything that fits, in steps."""
    while True:
        chosen = list(rows.order_by("pk").values_list("pk", flat=True)[:STEP])
        yield _counted(what, _delete(rows.filter(pk__in=chosen)) if chosen else 0)
        if len(chosen) < STEP:
            return


def _delete(rows: QuerySet[Any]) -> int:
    """How many of these rows went, not counting what hung on them."""
    return rows.delete()[1].get(rows.model._meta.label, 0)


def _counted(what: str, number: int) -> Counts:
    return {what: number} if number else {}
