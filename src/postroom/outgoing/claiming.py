"""Taking Emails in hand: a lease on what is due, fair between workspaces, at a cost no queue length changes.

The lanes that have something waiting are found by hopping from lane to lane along the index of due Emails;
then each gets a share of the claim. All times here are the database's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction

from postroom.conversations.models.records import Stream
from postroom.outgoing import allowances
from postroom.outgoing.admitting import LONGEST_LOCK_SECONDS, Budget, Shares, hold_over, turn_away
from postroom.outgoing.allowances import Crossing, Place
from postroom.outgoing.dialects import (
    among,
    as_date,
    as_stored,
    aware,
    database_time,
    instant,
    is_lock_timeout,
    is_postgres,
    now_sql,
)
from postroom.outgoing.models import Email
from postroom.outgoing.waiting import WAITING, Waiting, waiting

__all__ = ["Claim", "Claimed", "Waiting", "among", "claim", "release", "share_out", "waiting"]

log = logging.getLogger("postroom.sending")
LEASE_SECONDS = (
    1800  # longer than any answer may take (RFC 5321 §4.5.3.2), since a live worker is never disturbed
)
_LEASE = timedelta(seconds=LEASE_SECONDS)
LONGEST_CLAIM = 1000
LOCKED_AGAIN_AFTER = timedelta(seconds=5)
CLAIM_OCTETS = 64 * 1024 * 1024


class Claimed(NamedTuple):
    """One Email in hand, as plain values.

    `server_name` and `server_id` are of the server that carries it, be it a stand-in. `quota_day` is the day
    of the daily limit that counts it (None: none does), `is_rated` says whether the server's limits do.
    `is_away`: a stand-in carries it. `message_reference` is the message's Message-ID.
    """

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
    server_id: int = 0
    quota_day: date | None = None
    leased_until: datetime | None = None
    is_rated: bool = False
    throttled_count: int = 0
    is_away: bool = False
    due_at: datetime | None = None
    message_reference: str = ""

    @property
    def number(self) -> int:
        """The number of the attempt that is about to be made."""
        return self.attempt_count + 1

    @property
    def is_urgent(self) -> bool:
        """Does it go before bulk mail?"""
        return self.stream == Stream.URGENT

    @property
    def place(self) -> Place:
        """What limits counted when it was claimed."""
        claimed_at = self.leased_until - _LEASE if self.is_rated and self.leased_until else None
        return Place(self.workspace_id, self.quota_day, self.server_id, claimed_at)


@dataclass(frozen=True, slots=True)
class Claim:
    """What was claimed, in the order in which it should leave; when the lanes want to be asked next.

    `crossings` are the workspaces whose daily limit filled up by it; `failed_message_ids` the messages of
    Emails that failed because it was full.
    """

    emails: tuple[Claimed, ...]
    next_at: datetime | None
    last_lane_id: int
    crossings: tuple[Crossing, ...] = ()
    failed_message_ids: frozenset[int] = frozenset()


def claim(
    server_id: int,
    lease: str,
    *,
    limit: int = LONGEST_CLAIM,
    after_lane_id: int = 0,
    now: datetime | None = None,
    tell: Callable[[frozenset[int]], None] = lambda _: None,
) -> Claim:
    """Lease up to `limit` due Emails of the open lanes a server carries; urgent ones first, lanes in turn.

    Of a gated lane only what is due until it was released.
    Never more than the workspaces' daily limits and the server's own limits leave; their places are reserved
    in the same transaction. `after_lane_id` is the last claim's `last_lane_id`: with more lanes than places
    the turn goes on there. `now` None is the database's time. `tell` tells of `failed_message_ids` in the
    same transaction. While somebody keeps what a limit counts locked, nothing is claimed: it is tried again.
    """
    try:
        return _claim(server_id, lease, min(limit, LONGEST_CLAIM), now, tell, after_lane_id=after_lane_id)
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
    log.warning(
        "Nothing claimed for server %d: for more than %d s another session has locked what its limits count. "
        "It is tried again in %d s.",
        server_id,
        LONGEST_LOCK_SECONDS,
        LOCKED_AGAIN_AFTER.total_seconds(),
    )
    return Claim((), (now or database_time()) + LOCKED_AGAIN_AFTER, after_lane_id)


def _claim(
    server_id: int,
    lease: str,
    limit: int,
    now: datetime | None,
    tell: Callable[[frozenset[int]], None],
    *,
    after_lane_id: int,
) -> Claim:
    with transaction.atomic():
        now, lanes = waiting(server_id, now=now)
        ready = [lane for lane in lanes if lane.is_ready(now)]
        wanted = share_out(ready, limit, after_lane_id)
        budget = Budget(_named_in(wanted, ready), now)
        if budget.places is not None and budget.places < limit:
            limit = budget.places
            wanted = share_out(ready, limit, after_lane_id)
        emails = _lease(budget.clip(wanted), lease, budget)
        crossings = budget.count([email.workspace_id for email in emails])
        failed, held = turn_away(budget), hold_over(budget)
        tell(failed)
        emails = _fitting(emails, lease)
    last_lane_id = wanted[-1][0] if wanted and len(wanted) >= limit else 0
    lanes = [lane._replace(held_until=held.get(lane.lane_id, lane.held_until)) for lane in lanes]
    return Claim(tuple(_in_turn(emails)), next_at(lanes, now), last_lane_id, crossings, failed)


def due_server_ids() -> list[int]:
    """The servers that have something due in an open lane."""
    now, lanes = waiting()
    return sorted({lane.server_id for lane in lanes if lane.is_ready(now)})


def next_at(lanes: Iterable[Waiting], now: datetime) -> datetime | None:
    """When the first of these lanes has something to claim; None: nothing waits but what somebody, or a
    scheduled action, has to let go."""
    return min((at for lane in lanes if (at := lane.opens_at(now)) is not None), default=None)


def share_out(lanes: Sequence[Waiting], limit: int, after_lane_id: int = 0) -> list[tuple[int, int]]:
    """Divide the places of a claim: (lane, places), urgent first, a fifth kept for bulk if both wait."""
    urgent = [lane.lane_id for lane in lanes if lane.stream == Stream.URGENT]
    bulk = [lane.lane_id for lane in lanes if lane.stream != Stream.URGENT]
    for_bulk = (limit // 5 if urgent else limit) if bulk else 0
    return _evenly(urgent, limit - for_bulk, after_lane_id) + _evenly(bulk, for_bulk, after_lane_id)


def release(lease: str, emails: Sequence[Claimed], *, is_shown: bool = False) -> None:
    """Give Emails back untouched, and the places that limits kept for them when they were claimed.

    They are due as they were. `is_shown` puts them on the queue page.
    """
    if not emails:
        return
    shown = {"is_listed": True} if is_shown else {}
    with transaction.atomic():
        ours = Email.objects.filter(pk__in=[email.email_id for email in emails], lease=lease)
        ids = set(ours.select_for_update().order_by("pk").values_list("pk", flat=True))
        ours.update(lease="", leased_until=None, quota_day=None, **shown)
        # Not what their lanes say now: another server may carry them since.
        allowances.give_back(email.place for email in emails if email.email_id in ids)


def renew(lease: str) -> int:
    """Let a lease last as if everything under it had been claimed just now; return how many that is."""
    ours = Email.objects.filter(lease=lease).exclude(lease="")
    return ours.update(leased_until=database_time() + _LEASE)


def lease_seconds() -> float:
    """How long a lease lasts from when it was taken or renewed."""
    return _LEASE.total_seconds()


def held_under(lease: str) -> list[Claimed]:
    """Everything that a lease holds; for recovery."""
    return _claimed("e.lease = %s AND NOT (e.lease = '')", lease)


def leases() -> list[tuple[str, bool]]:
    """Every lease in the table, and whether its time is over."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT lease, MAX(leased_until) < {now_sql()} FROM postroom_email"
            " WHERE NOT (lease = '') GROUP BY lease",
            [],
        )
        return [(lease, bool(is_over)) for lease, is_over in cursor.fetchall()]


def _named_in(shares: Shares, lanes: Sequence[Waiting]) -> list[Waiting]:
    named = {lane_id for lane_id, _ in shares}
    return [lane for lane in lanes if lane.lane_id in named]


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
    # Whatever statistics say: first the Emails, then what belongs to each.
    found = f"WITH e AS MATERIALIZED (SELECT * FROM postroom_email e WHERE {condition}) {_of_claimed()}"
    with connection.cursor() as cursor:
        cursor.execute(found, [value])
        return [_claimed_of(list(row)) for row in cursor.fetchall()]


def _claimed_of(row: list[Any]) -> Claimed:
    row[10], row[17], row[21], row[16] = aware(row[10]), aware(row[17]), aware(row[21]), as_date(row[16])
    row[12], row[18], row[20] = bool(row[12]), bool(row[18]), bool(row[20])
    return Claimed._make(row)


def _fitting(emails: list[Claimed], lease: str) -> list[Claimed]:
    """As many as may lie in memory at once, at least one; the rest is given back."""
    sizes: dict[int | None, int] = {}
    for index, email in enumerate(emails):
        sizes[email.rendition_id] = email.size or 0
        if index and sum(sizes.values()) > CLAIM_OCTETS:
            release(lease, emails[index:])
            return emails[:index]
    return emails


def _of_claimed() -> str:
    return _CLAIMED.format(*map(instant, ("e.first_attempt_at", "e.leased_until", "e.due_at")))


_CLAIMED = """
    SELECT e.id, e.workspace_id, e.message_id, e.rendition_id, rendition.size, e.lane_id, address.addr_spec,
        contact.name, e.attempt_count, e.uncertain_count, {}, lane.stream,
        message.is_auto_deleted, carrier.name, e.redirected_to, carrier.id, e.quota_day, {},
        COALESCE(carrier.limit_per_minute, carrier.limit_per_hour, carrier.limit_per_day) IS NOT NULL,
        e.throttled_count, lane.via_id IS NOT NULL, {}, message.message_id
    FROM e
    JOIN postroom_message message ON message.id = e.message_id
    JOIN postroom_address address ON address.id = e.address_id
    JOIN postroom_lane lane ON lane.id = e.lane_id
    JOIN postroom_mailserver carrier ON carrier.id = COALESCE(lane.via_id, lane.server_id)
    LEFT JOIN postroom_rendition rendition ON rendition.id = e.rendition_id
    LEFT JOIN postroom_contact contact ON contact.id = e.contact_id
    ORDER BY e.due_at, e.id"""


# Two dialects of the same statement.


def _lease(shares: Shares, lease: str, budget: Budget) -> list[Claimed]:
    """Take what these shares give; what the daily limit counts is marked with its day."""
    if not shares:
        return []
    lanes, lane_ids = among("lane_id", budget.counted_lane_ids)
    day = f"CASE WHEN {lanes} THEN %s ELSE NULL END" if budget.counted_lane_ids else "NULL"
    values = [lane_ids, budget.day] if budget.counted_lane_ids else []
    written = f"UPDATE postroom_email SET lease = %s, leased_until = %s, quota_day = {day}"
    values = [lease, as_stored(budget.now + _LEASE), *values]
    in_dialect = _lease_on_postgres if is_postgres() else _lease_on_sqlite
    picked = [(lane_id, places, budget.lanes[lane_id].cutoff(budget.now)) for lane_id, places in shares]
    return in_dialect(picked, written, values)


Picked = Sequence[tuple[int, int, datetime]]
"""A lane, its places in this claim, and until when what it gives must be due."""


def _lease_on_postgres(picked: Picked, written: str, values: list[Any]) -> list[Claimed]:
    """One statement takes them and tells what belongs to them."""
    statement = f"""
        WITH picked AS MATERIALIZED (
            SELECT due.id FROM unnest(%s::bigint[], %s::int[], %s::timestamptz[])
                AS share(lane_id, places, cutoff)
            CROSS JOIN LATERAL (
                SELECT id FROM postroom_email
                WHERE lane_id = share.lane_id AND {WAITING} AND due_at <= share.cutoff
                ORDER BY due_at, id LIMIT share.places FOR UPDATE SKIP LOCKED
            ) AS due
        ), e AS (
            {written} WHERE id = ANY(ARRAY(SELECT id FROM picked)) RETURNING postroom_email.*
        ) {_of_claimed()}"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [*map(list, zip(*picked, strict=True)), *values])
        return [_claimed_of(list(row)) for row in cursor.fetchall()]


def _lease_on_sqlite(picked: Picked, written: str, values: list[Any]) -> list[Claimed]:
    one = f"""SELECT id FROM (SELECT id FROM postroom_email WHERE lane_id = %s AND {WAITING} AND due_at <= %s
        ORDER BY due_at, id LIMIT %s)"""
    statement = f"{written} WHERE id IN ({' UNION ALL '.join([one] * len(picked))}) RETURNING id"
    values += [value for lane_id, places, due in picked for value in (lane_id, as_stored(due), places)]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return _values([row[0] for row in cursor.fetchall()])
