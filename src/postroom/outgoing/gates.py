"""The gate of bulk mail: a lane gives only what is due until its release, by a scheduled action.

It is one time in one row (`Lane.released_until`), so that letting a million Emails go costs what one costs.
Urgent lanes have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Least

from postroom.conversations.models.records import Stream
from postroom.outgoing.dialects import as_stored, database_time
from postroom.outgoing.models import Email, Lane, State
from postroom.schedule.catalogue import MAIL_QUEUE

FOR_GOOD = datetime(9999, 1, 1, tzinfo=UTC)
"""Until when a mailing is released that has its turn: its retries need nothing more."""
COUNTED_TO = 10_000
_MOMENT = timedelta(seconds=1)


def shut_at() -> datetime:
    """The gate of a lane that is made now: a moment ago, for what is put there next must not pass.

    SQLite tells its time in milliseconds, and an Email may be written in the same one.
    """
    return database_time() - _MOMENT


def is_shut_for(email: Email) -> bool:
    """Does it wait for a scheduled action? Its lane must be loaded."""
    until = email.lane.released_until
    return email.state == State.OUTGOING and not email.lease and until is not None and email.due_at > until


def is_released() -> Q:
    """The Emails that no gate keeps."""
    return Q(lane__released_until=None) | Q(due_at__lte=F("lane__released_until"))


def in_front(now: datetime) -> Any:
    """As `due_at` of Emails: now, or as early as their gate asks, so that they leave at once.

    Those of a mailing are due now, and wait for its turn.
    """
    gate = Lane.objects.filter(pk=OuterRef("lane_id"), message=None).values("released_until")[:1]
    at_once = Value(now, DateTimeField())
    return Least(at_once, Coalesce(Subquery(gate), at_once))


def release(workspace_id: int, now: datetime) -> int:
    """Let go what is due in the workspace's bulk lanes; mailings have their own turn.

    Returns how many Emails that were, counted up to COUNTED_TO. One that stood open, as in a
    database of an earlier version, is shut behind what is due now.
    """
    lanes = _bulk_of(workspace_id).filter(Q(released_until=None) | Q(released_until__lt=now))
    count = _shut_in(lanes, now)
    lanes.update(released_until=now)
    return count


def open_until(times: Mapping[int, datetime]) -> None:
    """Open gated lanes, by id, at least until these times: what is tried again has its own due time.

    While the workspace's queue manager is switched off, the shared gate of its bulk lanes stays where it is:
    no new bulk mail may slip through, so what is tried again waits as well.
    Call it in the transaction that writes those times, after allowances and tallies: a claim that holds
    lanes over locks them in this order, too.
    """
    if not times:
        return
    rows = [(as_stored(at), lane_id, as_stored(at)) for lane_id, at in sorted(times.items())]
    with connection.cursor() as cursor:
        cursor.executemany(_OPEN, rows)


_OPEN = f"""UPDATE postroom_lane SET released_until = %s WHERE id = %s AND released_until < %s
    AND (message_id IS NOT NULL OR NOT EXISTS (
        SELECT 1 FROM postroom_scheduledaction action WHERE action.workspace_id = postroom_lane.workspace_id
        AND action.key = '{MAIL_QUEUE}' AND NOT action.is_active))"""


def lanes_with_due(lanes: QuerySet[Lane], now: datetime) -> QuerySet[Lane]:
    """Those of these lanes in which something is due that no gate keeps."""
    due = Email.objects.waiting().filter(lane=OuterRef("pk"), due_at__lte=now)
    passes = Q(due_at__lte=OuterRef("released_until"))
    return lanes.filter(Exists(due.filter(passes)) | Q(Exists(due), released_until=None))


def _bulk_of(workspace_id: int) -> QuerySet[Lane]:
    return Lane.objects.filter(workspace_id=workspace_id, stream=Stream.BULK, message=None)


def _shut_in(lanes: QuerySet[Lane], now: datetime) -> int:
    waiting = Email.objects.waiting().filter(lane__in=lanes.values("pk"), due_at__lte=now)
    shut = waiting.filter(due_at__gt=F("lane__released_until"))
    return shut.order_by().values("pk")[:COUNTED_TO].count()
