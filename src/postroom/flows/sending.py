"""Sending what is due: one drain per server, whatever its lanes hold."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from django.db import connection, connections

from postroom.engine import LaneKind
from postroom.flows import writing_back
from postroom.flows.draining import Drain
from postroom.outgoing import claiming, holds, recovering, relays
from postroom.outgoing.models import MailServer
from postroom.outgoing.retry import hold_seconds

log = logging.getLogger("postroom.sending")
PREFIX = "server:"
LINGER_SECONDS = 5.0
RUN_SECONDS = 30.0
NO_SERVER_SECONDS = 300.0
_failure_counts: dict[int, int] = {}
_told_troubles: dict[int, str] = {}


async def drain(lane: str) -> datetime | None:
    """Send what is due in a server's lanes; return when they want to be asked again (None: nothing waits).

    Nothing is claimed without a relay, and a relay that cannot be reached holds the lanes with growing gaps;
    no Email fails by either.
    """
    server = await asyncio.to_thread(_server_of, lane)
    if server is None:
        return None
    relay = relays.relay_of(server)
    if relay is None:
        _tell_trouble(server, "No relay is set (RELAY_URL)")
        return await asyncio.to_thread(_hold, server, holds.NO_SERVER, NO_SERVER_SECONDS)
    await asyncio.to_thread(_recover_failed_runs)
    async with Drain(server, relay, linger_seconds=LINGER_SECONDS, run_seconds=RUN_SECONDS) as run:
        while await run.claim() and run.feed.is_empty:
            continue  # all of it was captured
        if not run.feed.is_empty:
            await run.send()
    if run.failure is None:
        _failure_counts.pop(server.pk, None)
        if _told_troubles.pop(server.pk, ""):
            log.info("Mail leaves over the server %s again", server.name)
        return await asyncio.to_thread(_next_at, server)
    _tell_trouble(server, str(run.failure))
    count = _failure_counts[server.pk] = _failure_counts.get(server.pk, 0) + 1
    return await asyncio.to_thread(_hold, server, holds.SERVER_UNREACHABLE, hold_seconds(count))


def recover(*, is_start: bool = True) -> int:
    """Settle what workers that are gone had in hand; return how many Emails were settled.

    At the start of an engine every server is worth a try again, too. On SQLite there is only one engine, so
    a lease that no living worker holds is recovered at once; on PostgreSQL one without a journal
    here may belong to another machine until its time is over.
    """
    if is_start:
        holds.reopen_all()
    count, failed = 0, set[int]()
    is_alone = connection.vendor == "sqlite"
    for settlement in recovering.recover(
        is_alone=is_alone, now=writing_back.clock(), policy_of=writing_back.policy_of
    ):
        count += settlement.count
        failed |= settlement.failed_message_ids
    writing_back.tell(failed)
    return count


def due() -> list[str]:
    """The servers that have something due. For a thread of the engine: its connection is closed again."""
    try:
        return [f"{PREFIX}{server_id}" for server_id in claiming.due_server_ids()]
    finally:
        connections.close_all()


KIND = LaneKind(PREFIX, drain, due)


def _server_of(lane: str) -> MailServer | None:
    try:
        return MailServer.objects.filter(pk=int(lane.removeprefix(PREFIX))).first()
    finally:
        connections.close_all()


def _recover_failed_runs() -> None:
    """A run that could not write back leaves its journal: settle that first."""
    try:
        if recovering.is_anything_left():
            recover(is_start=False)
    finally:
        connections.close_all()


def _tell_trouble(server: MailServer, why: str) -> None:
    """One line when trouble begins or changes, none for every try in vain."""
    if _told_troubles.get(server.pk) != why:
        _told_troubles[server.pk] = why
        log.warning("Mail over the server %s waits, and no email fails by it: %s", server.name, why)


def _next_at(server: MailServer) -> datetime | None:
    try:
        now, lanes = claiming.waiting(server.pk)
        return claiming.next_at(lanes, now)
    finally:
        connections.close_all()


def _hold(server: MailServer, because: str, seconds: float) -> datetime | None:
    """Hold the server's lanes; return when they open again, None if nothing waits in them."""
    try:
        now, lanes = claiming.waiting(server.pk)
        until = now + timedelta(seconds=seconds)
        holds.hold(server.pk, until, because)
        return until if lanes else None
    finally:
        connections.close_all()
