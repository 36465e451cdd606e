"""Taking Emails in hand: a lease on what is due, fair between workspaces, at a cost no queue length changes.

The lanes that have something waiting are found by hopping from lane to lane along the index of due Emails;
then each gets a share of the claim. All times here are the database's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils.dateparse import parse_datetime

from postroom.conversations.models.records import Stream
from postroom.outgoing.models import Email

LEASE_SECONDS = (
    1800  # longer than any answer may take (RFC 5321 §4.5.3.2), since a live worker is never disturbed
)
LONGEST_CLAIM = 500
CLAIM_OCTETS = 64 * 1024 * 1024


class Claimed(NamedTuple):
    """One Email in hand, as plain values."""

    email_id: int
    workspace_id: int
    message_id: int
    rendition_id: int | None
    size: int | None
    lane_id: int
    addr_spec: str
    contact_name: str | None
    attempt_count: int
    uncertain_count: int
    first_attempt_at: datetime | None
    stream: str
    is_auto_deleted: bool
    server_name: str
    redirected_to: str = ""

    @property
    def number(self) -> int:
        """The number of the attempt that is about to be made."""
        return self.attempt_count + 1

    @property
    def is_urgent(self) -> bool:
        """Does it go before bulk mail?"""
        return self.stream == Stream.URGENT


class Waiting(NamedTuple):
    """A lane in which Emails wait: when its first one is due, and what keeps it."""

    lane_id: int
    workspace_id: int
    server_id: int
    stream: str
    held_until: datetime | None
    is_paused: bool
    first_due_at: datetime

    def opens_at(self, now: datetime) -> datetime:
        """When something of it may be claimed: after its hold, and once its first Email is due."""
        return max(self.first_due_at, self.held_until or now)


@dataclass(frozen=True, slots=True)
class Claim:
    """What was claimed, in the order in which it should leave; when the lanes want to be asked next."""

    emails: tuple[Claimed, ...]
    next_at: datetime | None
    last_lane_id: int


def claim(server_id: int, lease: str, *, limit: int = LONGEST_CLAIM, after_lane_id: int = 0) -> Claim:
    """Lease up to `limit` due Emails of a server's open lanes; urgent ones first, lanes in turn.

    `after_lane_id` is the last claim's `last_lane_id`: with more lanes than places the turn goes on there.
    """
    limit = min(limit, LONGEST_CLAIM)
    with transaction.atomic():
        now, lanes = waiting(server_id)
        shares = share_out([lane for lane in lanes if _is_ready(lane, now)], limit, after_lane_id)
        email_ids = _lease(shares, lease, now) if shares else []
        emails = _fitting(_values(email_ids), lease)
    last_lane_id = shares[-1][0] if len(shares) >= limit else 0
    return Claim(tuple(_in_turn(emails)), next_at(lanes, now), last_lane_id)


def waiting(server_id: int | None = None) -> tuple[datetime, list[Waiting]]:
    """The database's time, and the lanes (of a server) with Emails waiting. Costs per lane, not per Email."""
    with connection.cursor() as cursor:
        cursor.execute(_waiting_sql(), [server_id, server_id])
        rows = cursor.fetchall()
        cursor.execute(f"SELECT {_now()}", [])
        now = _aware(cursor.fetchone()[0])
    lanes = [Waiting._make([*row[:4], _aware(row[4]), row[5], _aware(row[6])]) for row in rows]
    assert now is not None
    return now, lanes


def due_server_ids() -> list[int]:
    """The servers that have something due in an open lane."""
    now, lanes = waiting()
    return sorted({lane.server_id for lane in lanes if _is_ready(lane, now)})


def next_at(lanes: Iterable[Waiting], now: datetime) -> datetime | None:
    """When the first of these lanes has something to claim; paused ones do not count. None: nothing waits."""
    return min((lane.opens_at(now) for lane in lanes if not lane.is_paused), default=None)


def share_out(lanes: Sequence[Waiting], limit: int, after_lane_id: int = 0) -> list[tuple[int, int]]:
    """Divide the places of a claim: (lane, places), urgent first, a fifth kept for bulk if both wait."""
    urgent = [lane.lane_id for lane in lanes if lane.stream == Stream.URGENT]
    bulk = [lane.lane_id for lane in lanes if lane.stream != Stream.URGENT]
    for_bulk = (limit // 5 if urgent else limit) if bulk else 0
    return _evenly(urgent, limit - for_bulk, after_lane_id) + _evenly(bulk, for_bulk, after_lane_id)


def release(lease: str, email_ids: Sequence[int], *, is_shown: bool = False) -> None:
    """Give Emails back untouched: due as they were. `is_shown` puts them on the queue page."""
    shown = {"is_listed": True} if is_shown else {}
    Email.objects.filter(pk__in=email_ids, lease=lease).update(lease="", leased_until=None, **shown)


def held_under(lease: str) -> list[Claimed]:
    """Everything that a lease holds; for recovery."""
    return _claimed("e.lease = %s AND NOT (e.lease = '')", lease)


def leases() -> list[tuple[str, bool]]:
    """Every lease in the table, and whether its time is over."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT lease, MAX(leased_until) < {_now()} FROM postroom_email"
            " WHERE NOT (lease = '') GROUP BY lease",
            [],
        )
        return [(lease, bool(is_over)) for lease, is_over in cursor.fetchall()]


def _is_ready(lane: Waiting, now: datetime) -> bool:
    return not lane.is_paused and lane.opens_at(now) <= now


def _evenly(lane_ids: list[int], places: int, after_lane_id: int) -> list[tuple[int, int]]:
    if not lane_ids or places < 1:
        return []
    ordered = sorted(lane_ids, key=lambda lane_id: (lane_id <= after_lane_id, lane_id))[:places]
    each, rest = divmod(places, len(ordered))
    return [(lane_id, each + (index < rest)) for index, lane_id in enumerate(ordered)]


def _in_turn(emails: Sequence[Claimed]) -> list[Claimed]:
    """One of each lane after the other, urgent before bulk."""
    seen: dict[int, int] = {}
    turns = []
    for email in emails:
        seen[email.lane_id] = seen.get(email.lane_id, 0) + 1
        turns.append((not email.is_urgent, seen[email.lane_id], email))
    return [email for _, _, email in sorted(turns, key=lambda turn: (turn[0], turn[1]))]


def _values(email_ids: list[int]) -> list[Claimed]:
    return _claimed(*among("e.id", email_ids)) if email_ids else []


def _claimed(condition: str, value: Any) -> list[Claimed]:
    """The Emails that fit, first due first; written out because composing it takes longer than asking."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_CLAIMED} WHERE {condition} ORDER BY e.due_at, e.id", [value])
        rows = cursor.fetchall()
    return [Claimed._make([*row[:10], _aware(row[10]), row[11], bool(row[12]), *row[13:]]) for row in rows]


def _fitting(emails: list[Claimed], lease: str) -> list[Claimed]:
    """As many as may lie in memory at once, at least one; the rest is given back."""
    sizes: dict[int | None, int] = {}
    for index, email in enumerate(emails):
        sizes[email.rendition_id] = email.size or 0
        if index and sum(sizes.values()) > CLAIM_OCTETS:
            release(lease, [each.email_id for each in emails[index:]])
            return emails[:index]
    return emails


# Two dialects of the same statements.

_WAITING = "state = 'outgoing' AND lease = ''"
_CLAIMED = """
    SELECT e.id, e.workspace_id, e.message_id, e.rendition_id, rendition.size, e.lane_id, address.addr_spec,
        contact.name, e.attempt_count, e.uncertain_count, e.first_attempt_at, lane.stream,
        message.is_auto_deleted, server.name, e.redirected_to
    FROM postroom_email e
    JOIN postroom_message message ON message.id = e.message_id
    JOIN postroom_address address ON address.id = e.address_id
    JOIN postroom_lane lane ON lane.id = e.lane_id
    JOIN postroom_mailserver server ON server.id = lane.server_id
    LEFT JOIN postroom_rendition rendition ON rendition.id = e.rendition_id
    LEFT JOIN postroom_contact contact ON contact.id = e.contact_id"""


def among(column: str, numbers: Sequence[int]) -> tuple[str, Any]:
    """A condition that a column is one of these numbers, as one parameter however many they are."""
    if _is_postgres():
        return f"{column} = ANY(%s)", list(numbers)
    return f"{column} IN (SELECT value FROM json_each(%s))", json.dumps(numbers)


def _now() -> str:
    return "statement_timestamp()" if _is_postgres() else "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def _is_postgres() -> bool:
    return connection.vendor == "postgresql"


def _waiting_sql() -> str:
    return f"""
        WITH RECURSIVE hop(lane_id) AS (
            SELECT (SELECT MIN(lane_id) FROM postroom_email WHERE {_WAITING})
            UNION ALL
            SELECT (SELECT MIN(e.lane_id) FROM postroom_email e WHERE {_WAITING} AND e.lane_id > hop.lane_id)
            FROM hop WHERE hop.lane_id IS NOT NULL
        )
        SELECT lane.id, lane.workspace_id, lane.server_id, lane.stream, lane.held_until, lane.is_paused,
            (SELECT MIN(due_at) FROM postroom_email WHERE lane_id = lane.id AND {_WAITING})
        FROM hop JOIN postroom_lane lane ON lane.id = hop.lane_id
        WHERE %s IS NULL OR lane.server_id = %s
        """


def _lease(shares: list[tuple[int, int]], lease: str, now: datetime) -> list[int]:
    in_dialect = _lease_on_postgres if _is_postgres() else _lease_on_sqlite
    with connection.cursor() as cursor:
        cursor.execute(*in_dialect(shares, lease, now))
        return [row[0] for row in cursor.fetchall()]


def _lease_on_postgres(shares: list[tuple[int, int]], lease: str, _: datetime) -> tuple[str, list[Any]]:
    statement = f"""
        WITH picked AS MATERIALIZED (
            SELECT due.id FROM unnest(%s::bigint[], %s::int[]) AS share(lane_id, places)
            CROSS JOIN LATERAL (
                SELECT id FROM postroom_email
                WHERE lane_id = share.lane_id AND {_WAITING} AND due_at <= {_now()}
                ORDER BY due_at, id LIMIT share.places FOR UPDATE SKIP LOCKED
            ) AS due
        )
        UPDATE postroom_email SET lease = %s, leased_until = {_now()} + interval '{LEASE_SECONDS} seconds'
        FROM picked WHERE postroom_email.id = picked.id RETURNING postroom_email.id
        """
    lane_ids, places = zip(*shares, strict=True)
    return statement, [list(lane_ids), list(places), lease]


def _lease_on_sqlite(shares: list[tuple[int, int]], lease: str, now: datetime) -> tuple[str, list[Any]]:
    one = f"""SELECT id FROM (SELECT id FROM postroom_email WHERE lane_id = %s AND {_WAITING} AND due_at <= %s
        ORDER BY due_at, id LIMIT %s)"""
    statement = f"""
        UPDATE postroom_email SET lease = %s,
            leased_until = STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '+{LEASE_SECONDS} seconds')
        WHERE id IN ({" UNION ALL ".join([one] * len(shares))}) RETURNING id
        """
    now_text = connection.ops.adapt_datetimefield_value(now)
    return statement, [lease, *(value for lane_id, places in shares for value in (lane_id, now_text, places))]


def _aware(value: Any) -> Any:
    """A time as the database gives it in a bare statement: text on SQLite."""
    if isinstance(value, str):
        value = parse_datetime(value)
    return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)
