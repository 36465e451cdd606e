"""Writing outcomes back: a group of Emails, their Attempts and their Tallies in one transaction.

Nothing here makes a model object per row, and nothing is written for an Email whose lease is no longer ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from django.db import connection, transaction

from postroom.outgoing import allowances, gates, tallies
from postroom.outgoing.allowances import Place
from postroom.outgoing.claiming import Claimed
from postroom.outgoing.dialects import among, as_stored, is_postgres
from postroom.outgoing.models import Attempt, Email, FailureKind, State
from postroom.outgoing.retry import THROTTLED_FREELY, History, PolicyOf, Verdict, verdict_on, words_of
from postroom.outgoing.tallies import Move
from postroom.wire.reply import Outcome, Reply, is_throttling

_REMOTE_ID = re.compile(
    r"queued as <?([^\s<>;]{1,120})|\bid=<?([^\s<>;]{1,120})|^Ok:? ([0-9A-Za-z-]{16,120})$", re.I
)
_ATTEMPT_COLUMNS = (
    "workspace_id", "email_id", "number", "at", "addr_spec", "server_name", "reverse_path", "remote_id",
    "outcome", "code", "enhanced", "text", "seconds", "is_tls", "is_unverified",
)  # fmt: skip
_ROWS_A_STATEMENT = 40


class Ended(NamedTuple):
    """How one claimed Email's attempt ended; `reply` is None where the server gave none."""

    email: Claimed
    outcome: Outcome
    reply: Reply | None
    reverse_path: str = ""
    seconds: float = 0.0
    was_tls: bool = False
    is_unverified: bool = False

    @property
    def is_throttling(self) -> bool:
        """Did the server ask for a slower pace?"""
        return self.outcome is Outcome.DEFERRED and self.reply is not None and is_throttling(self.reply)

    @property
    def slows_the_lane(self) -> bool:
        """Is that about the pace? Of a mail that gets it again and again, it is about that mail."""
        return self.is_throttling and self.email.throttled_count < THROTTLED_FREELY


Tell = Callable[[frozenset[int]], None]
"""Tells people of messages that have a new Delivery Failed, in the transaction that writes it: a process that
is killed leaves neither without the other."""


def tell_nobody(message_ids: frozenset[int]) -> None:
    """Where nobody is to be told."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What was written: how many Emails, and the messages that have a new Delivery Failed.

    `ended` is what was brought back, `verdicts` what became of those Emails that were not Sent, by their id.
    """

    count: int
    failed_message_ids: frozenset[int]
    ended: Sequence[Ended] = ()
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)


class _Judged(NamedTuple):
    ended: Ended
    verdict: Verdict


def settle(
    lease: str,
    ended: Sequence[Ended],
    *,
    now: datetime,
    policy_of: PolicyOf,
    tell: Tell = tell_nobody,
) -> Settlement:
    """Write the outcomes that a lease's worker brought back. `policy_of` gives a stream's retry policy."""
    brought = ended
    if is_postgres():
        count = _settle_accepted(lease, [each for each in ended if each.outcome is Outcome.ACCEPTED], now)
        ended = [each for each in ended if each.outcome is not Outcome.ACCEPTED]
        if not ended:
            return Settlement(count, frozenset(), brought)
    else:
        count = 0
    with transaction.atomic():
        ours = _still_under(lease, [each.email.email_id for each in ended])
        judged = [
            _Judged(each, _judge(each, policy_of, now)) for each in ended if each.email.email_id in ours
        ]
        _write_sent([each.ended.email for each in judged if each.verdict.state == State.SENT], now)
        _write_others([each for each in judged if each.verdict.state != State.SENT], now)
        _write_attempts([each.ended for each in judged], now)
        # Allowances before tallies, as in a claim: two workers never wait for each other.
        allowances.give_back(_attempted(e.email) for e, _ in judged if e.outcome not in _CONSUMES)
        tallies.move(
            Move(e.email.message_id, State.OUTGOING, v.state) for e, v in judged if v.state != State.OUTGOING
        )
        gates.open_until(_bulk_retries(judged))
        failed = _failed(judged)
        tell(failed)
    verdicts = {e.email.email_id: v for e, v in judged if v.state != State.SENT}
    return Settlement(count + len(judged), failed, brought, verdicts)


def give_up(lease: str, unsendable: Sequence[tuple[Claimed, str]], *, tell: Tell = tell_nobody) -> Settlement:
    """Fail Emails that cannot be sent at all, each with the reason; no attempt was made."""
    with transaction.atomic():
        ours = _still_under(lease, [email.email_id for email, _ in unsendable])
        mine = [(email, reason) for email, reason in unsendable if email.email_id in ours]
        for email, reason in mine:
            Email.objects.filter(pk=email.email_id).update(
                state=State.FAILED,
                failure_kind=FailureKind.INVALID,
                failure_text=reason,
                is_listed=True,
                **_UNUSED,
            )
        allowances.give_back(email.place for email, _ in mine)
        tallies.move(Move(email.message_id, State.OUTGOING, State.FAILED) for email, _ in mine)
        failed = frozenset(email.message_id for email, _ in mine)
        tell(failed)
    return Settlement(len(mine), failed)


def capture(lease: str, emails: Sequence[Claimed]) -> dict[int, int]:
    """Cancel Emails because the installation or the workspace captures; return how many of each message.

    Must run in the transaction that notes it.
    """
    ours = _still_under(lease, [email.email_id for email in emails])
    Email.objects.filter(pk__in=ours).update(
        state=State.CANCELLED, cancelled_because="captured", is_listed=True, **_UNUSED
    )
    allowances.give_back(email.place for email in emails if email.email_id in ours)
    mine = [email.message_id for email in emails if email.email_id in ours]
    tallies.move(Move(message_id, State.OUTGOING, State.CANCELLED) for message_id in mine)
    return {message_id: mine.count(message_id) for message_id in sorted(set(mine))}


_UNUSED = {"lease": "", "leased_until": None, "quota_day": None}
_CONSUMES = (Outcome.ACCEPTED, Outcome.UNCERTAIN)


def _attempted(email: Claimed) -> Place:
    """What an attempt that failed gives back: the workspace's day, but not that its server was asked."""
    return email.place._replace(claimed_at=None)


def _still_under(lease: str, email_ids: list[int]) -> set[int]:
    """Lock and name what is still leased to us. On SQLite the lock is there, and a count mostly does."""
    condition, numbers = among("id", email_ids)
    rows = f"FROM postroom_email WHERE {condition} AND lease = %s"
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"SELECT COUNT(*) {rows}", [numbers, lease])
            if cursor.fetchone()[0] == len(email_ids):
                return set(email_ids)
        lock = "ORDER BY id FOR UPDATE" if connection.vendor == "postgresql" else ""
        cursor.execute(f"SELECT id {rows} {lock}", [numbers, lease])
        return {row[0] for row in cursor.fetchall()}


_ACCEPTED = Verdict(State.SENT)


def _judge(ended: Ended, policy_of: PolicyOf, now: datetime) -> Verdict:
    if ended.outcome is Outcome.ACCEPTED:
        return _ACCEPTED
    email = ended.email
    history = History(
        email.attempt_count,
        email.uncertain_count,
        email.first_attempt_at,
        email.is_urgent,
        email.throttled_count,
    )
    policy = policy_of(email.workspace_id, email.stream)
    jitter = random.uniform(-1, 1)
    return verdict_on(
        ended.outcome, history, policy, now=now, jitter=jitter, is_throttling=ended.is_throttling
    )


def _bulk_retries(judged: Iterable[_Judged]) -> dict[int, datetime]:
    """By lane, the latest time at which bulk mail of it is tried again: no gate may stand before that."""
    latest: dict[int, datetime] = {}
    for (email, *_), verdict in judged:
        if verdict.state == State.OUTGOING and verdict.due_at is not None and not email.is_urgent:
            latest[email.lane_id] = max(verdict.due_at, latest.get(email.lane_id, verdict.due_at))
    return latest


def _failed(judged: Iterable[_Judged]) -> frozenset[int]:
    return frozenset(ended.email.message_id for ended, verdict in judged if verdict.state == State.FAILED)


# What the server took, all in one statement: PostgreSQL plans and answers it once for the whole group.
_TAKEN = """
    WITH ours AS (
        UPDATE postroom_email email SET state = 'sent', sent_at = %s, attempt_count = attempt_count + 1,
            first_attempt_at = COALESCE(first_attempt_at, %s), failure_text = '', lease = '',
            leased_until = NULL, is_listed = is_listed AND NOT email.id = ANY(%s::bigint[])
        WHERE email.id = ANY(%s::bigint[]) AND email.lease = %s RETURNING email.id, email.message_id
    ), attempts AS (
        INSERT INTO postroom_attempt ({columns}) SELECT tried.* FROM unnest(
            %s::bigint[], %s::bigint[], %s::int2[], %s::timestamptz[], %s::text[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::int2[], %s::text[], %s::text[], %s::float8[], %s::bool[], %s::bool[]
        ) AS tried({columns}) WHERE tried.email_id IN (SELECT id FROM ours)
    ), counts AS (
        SELECT message_id, COUNT(*) AS number FROM ours GROUP BY message_id
    ), locked AS (
        SELECT tally.message_id, number FROM postroom_tally tally JOIN counts USING (message_id)
        ORDER BY message_id FOR UPDATE OF tally
    ), moved AS (
        UPDATE postroom_tally tally SET outgoing_count = outgoing_count - number,
            sent_count = sent_count + number
        FROM locked WHERE tally.message_id = locked.message_id
    )
    SELECT COUNT(*) FROM ours""".format(columns=", ".join(_ATTEMPT_COLUMNS))


def _settle_accepted(lease: str, accepted: Sequence[Ended], now: datetime) -> int:
    if not accepted:
        return 0
    email_ids = [each.email.email_id for each in accepted]
    hidden = [each.email.email_id for each in accepted if each.email.is_auto_deleted]
    columns = map(list, zip(*(_attempt(each, now) for each in accepted), strict=True))
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, [now, now, hidden, email_ids, lease, *columns])
        return int(cursor.fetchone()[0])


_SENT = """UPDATE postroom_email SET state = 'sent', sent_at = %s, attempt_count = attempt_count + 1,
    first_attempt_at = COALESCE(first_attempt_at, %s), failure_text = '', lease = '', leased_until = NULL"""


def _write_sent(sent: Sequence[Claimed], now: datetime) -> None:
    """Sent: two statements at most. What is deleted when sent leaves the queue page."""
    at = as_stored(now)
    for is_auto_deleted in (False, True):
        email_ids = [email.email_id for email in sent if email.is_auto_deleted is is_auto_deleted]
        hidden = ", is_listed = FALSE" if is_auto_deleted else ""
        if email_ids:
            condition, numbers = among("id", email_ids)
            with connection.cursor() as cursor:
                cursor.execute(f"{_SENT}{hidden} WHERE {condition}", [at, at, numbers])


_UPDATE = """UPDATE postroom_email SET state = %s, failure_kind = %s, failure_text = %s, due_at = %s,
    uncertain_count = uncertain_count + %s, throttled_count = throttled_count + %s,
    attempt_count = attempt_count + 1, first_attempt_at = %s, is_listed = %s, lease = '',
    leased_until = NULL, quota_day = %s WHERE id = %s"""


def _write_others(judged: Sequence[_Judged], now: datetime) -> None:
    """Not sent: every row has a text and a time of its own. Each shows on the queue page from now on."""
    rows = [
        (
            str(verdict.state),
            str(verdict.failure_kind),
            words_of(ended.reply),
            as_stored(verdict.due_at or now),
            int(verdict.is_uncertain),
            int(verdict.is_throttled),
            as_stored(ended.email.first_attempt_at or now),
            True,
            ended.email.quota_day if ended.outcome in _CONSUMES else None,
            ended.email.email_id,
        )
        for ended, verdict in judged
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_UPDATE, rows)


def _write_attempts(ended: Sequence[Ended], now: datetime) -> None:
    at = as_stored(now)
    rows = [_attempt(each, at) for each in ended]
    table, columns = Attempt._meta.db_table, ", ".join(_ATTEMPT_COLUMNS)
    if not rows:
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        # Many rows a statement: each step of SQLite gives the interpreter to another thread and must get it
        # back. The same number of rows each time: then the statement is already prepared.
        places = f"({', '.join(['%s'] * len(_ATTEMPT_COLUMNS))})"
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            some = rows[start : start + _ROWS_A_STATEMENT]
            statement = f"INSERT INTO {table} ({columns}) VALUES {', '.join([places] * len(some))}"
            cursor.execute(statement, list(chain.from_iterable(some)))


def _attempt(ended: Ended, at: Any) -> tuple[Any, ...]:
    email, outcome, reply, reverse_path, seconds, was_tls, is_unverified = ended
    code, enhanced, text = (reply.code, str(reply.enhanced or ""), reply.text) if reply else (None, "", "")
    remote_id = remote_id_of(text) if outcome is Outcome.ACCEPTED else ""
    to = email.redirected_to or email.addr_spec
    return (
        email.workspace_id, email.email_id, email.number, at, to, email.server_name, reverse_path,
        remote_id, str(outcome), code, enhanced, text.replace("\0", ""), seconds, was_tls, is_unverified,
    )  # fmt: skip


def remote_id_of(text: str) -> str:
    """The id under which a server says it took the mail; empty if it names none."""
    found = _REMOTE_ID.search(text)
    return next(filter(None, found.groups()), "") if found else ""
