"""How deep the queue is, how long its oldest mail has been due, and what failed: at a bounded price.

Whatever the length of the queue, about COUNTED_TO of it and FAILURES_COUNTED_TO failures are counted at most;
what is more is cut off there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from django.db import connection

from postroom.conversations.models.records import Stream
from postroom.outgoing.dialects import among, as_stored
from postroom.outgoing.models import Lane, State
from postroom.outgoing.waiting import WAITING, Waiting
from postroom.workspaces.models import Workspace

COUNTED_TO = 200_000
FAILURES_COUNTED_TO = 10_000
LEAST_COUNTED, LEAST_FAILURES_COUNTED = 500, 50


class Standing(StrEnum):
    """How an Email that has not left stands, as one word."""

    DUE = "due"  # it may leave now
    LATER = "later"  # its time has not come: it was deferred, or is to leave later
    GATED = "gated"  # it waits for the scheduled action that lets bulk mail go
    HELD = "held"  # its lane is held until a time because of a reason
    PAUSED = "paused"  # somebody paused its lane
    SENDING = "sending"  # a worker has it in hand
    FAILED = "failed"  # Delivery Failed, and nobody has acted on it


class Deep(NamedTuple):
    """How many Emails of a lane stand how; `because` is why a held one is held.

    `lane_id` is None where it does not matter: of what is in hand, and of what failed.
    """

    workspace_id: int | None
    lane_id: int | None
    stream: str
    standing: Standing
    because: str
    number: int


def depths(lanes: Sequence[Waiting], now: datetime) -> list[Deep]:
    """What waits in these lanes (`waiting.waiting`), in one statement."""
    counted = _counted([lane.lane_id for lane in lanes], now)
    return [
        deep for lane in lanes for deep in _of(lane, now, counted.get(lane.lane_id, (0, 0, 0))) if deep.number
    ]


def _of(lane: Waiting, now: datetime, counts: tuple[int, int, int]) -> Iterable[Deep]:
    """`counts`: let through by its gate, due, and all."""
    through, due, all_count = counts
    name = (lane.workspace_id, lane.lane_id, lane.stream)
    if lane.is_paused:
        return [Deep(*name, Standing.PAUSED, "", all_count)]
    if lane.held_until is not None and lane.held_until > now:
        return [Deep(*name, Standing.HELD, lane.held_because, all_count)]
    return [
        Deep(*name, Standing.DUE, "", through),
        Deep(*name, Standing.GATED, "", due - through),
        Deep(*name, Standing.LATER, "", all_count - due),
    ]


def _counted(lane_ids: list[int], now: datetime) -> dict[int, tuple[int, int, int]]:
    if not lane_ids:
        return {}
    most = max(LEAST_COUNTED, COUNTED_TO // (3 * len(lane_ids)))
    at = as_stored(now)
    condition, ids = among("lane.id", lane_ids)
    gate = "CASE WHEN lane.released_until < %s THEN lane.released_until ELSE %s END"
    found = f"SELECT COUNT(*) FROM (SELECT 1 FROM postroom_email WHERE lane_id = lane.id AND {WAITING}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT lane.id, ({found} AND due_at <= {gate} LIMIT %s) AS through),
                ({found} AND due_at <= %s LIMIT %s) AS due), ({found} LIMIT %s) AS everything)
            FROM postroom_lane lane WHERE {condition}""",
            [at, at, most, at, most, most, ids],
        )
        return {row[0]: (row[1], row[2], row[3]) for row in cursor.fetchall()}


def in_hand() -> list[Deep]:
    """What workers have in hand, by stream."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT lane.stream, COUNT(*) FROM (SELECT lane_id FROM postroom_email
                WHERE NOT (lease = '') LIMIT %s) e JOIN postroom_lane lane ON lane.id = e.lane_id
            GROUP BY lane.stream""",
            [COUNTED_TO],
        )
        return [Deep(None, None, stream, Standing.SENDING, "", n) for stream, n in cursor.fetchall()]


def failures() -> list[Deep]:
    """What failed and nobody has acted on, by workspace, stream and kind (in `because`).

    Of each workspace the newest ones are looked at.
    """
    most = max(LEAST_FAILURES_COUNTED, FAILURES_COUNTED_TO // max(1, Workspace.objects.count()))
    with connection.cursor() as cursor:
        cursor.execute(_FAILURES_ON_POSTGRES if connection.vendor == "postgresql" else _FAILURES, [most])
        rows = cursor.fetchall()
    return [Deep(row[0], None, row[1], Standing.FAILED, row[2], row[3]) for row in rows]


_FAILED = f"state = '{State.FAILED}' AND ignored_at IS NULL"
_FAILURES = f"""SELECT e.workspace_id, lane.stream, e.failure_kind, COUNT(*) FROM (
        SELECT failed.workspace_id, failed.lane_id, failed.failure_kind
        FROM postroom_workspace w JOIN postroom_email failed ON failed.id IN (
            SELECT id FROM postroom_email WHERE workspace_id = w.id AND {_FAILED}
            ORDER BY id DESC LIMIT %s)
    ) e JOIN postroom_lane lane ON lane.id = e.lane_id
    GROUP BY e.workspace_id, lane.stream, e.failure_kind"""
_FAILURES_ON_POSTGRES = f"""SELECT w.id, lane.stream, e.failure_kind, COUNT(*) FROM postroom_workspace w
    CROSS JOIN LATERAL (SELECT lane_id, failure_kind FROM postroom_email
        WHERE workspace_id = w.id AND {_FAILED} ORDER BY id DESC LIMIT %s) e
    JOIN postroom_lane lane ON lane.id = e.lane_id
    GROUP BY w.id, lane.stream, e.failure_kind"""


def oldest_due_seconds(lanes: Iterable[Waiting], now: datetime) -> dict[str, float]:
    """For each stream, how long the oldest Email that may leave has been waiting for it; 0: none is."""
    oldest = dict.fromkeys(map(str, Stream.values), 0.0)
    for lane in lanes:
        if lane.is_ready(now):
            seconds = (now - late_since(lane, now)).total_seconds()
            oldest[lane.stream] = max(oldest[lane.stream], seconds)
    return oldest


def late_since(lane: Waiting, now: datetime) -> datetime:
    """Since when the first Email of a lane may leave: since it is due, its gate was opened, its hold over."""
    opened_at = lane.released_until
    if opened_at is None or opened_at > now:
        opened_at = lane.first_due_at
    return max(lane.first_due_at, opened_at, lane.held_until or lane.first_due_at)


def summed(deeps: Iterable[Deep]) -> Counter[tuple[str, str]]:
    """By standing and stream."""
    sums: Counter[tuple[str, str]] = Counter()
    for deep in deeps:
        sums[(str(deep.standing), deep.stream)] += deep.number
    return sums


def mailings_left() -> dict[int, tuple[int, int]]:
    """What is left of each mailing: its lane's id → (message, Emails that are Outgoing), the newest first."""
    lanes: Any = Lane.objects.exclude(message=None).filter(message__tally__outgoing_count__gt=0)
    rows = lanes.order_by("-pk").values_list("pk", "message_id", "message__tally__outgoing_count")
    return {lane_id: (message_id, count) for lane_id, message_id, count in rows[:MAILINGS]}


MAILINGS = 100
