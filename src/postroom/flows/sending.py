"""Sending what is due: one drain per server, whatever its lanes hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from django.db import connection, connections

from postroom.diagnostics import mail_log
from postroom.engine import LaneKind
from postroom.flows import mailing_turns, notices, tracing, trouble, writing_back
from postroom.flows.draining import Drain, connection_share
from postroom.flows.trouble import Trouble
from postroom.outgoing import claiming, esp, holds, recovering, relays, server_settings
from postroom.outgoing.esp import Account
from postroom.outgoing.models import MailServer
from postroom.smtp.relay import Relay
from postroom.workspaces import stations
from postroom.workspaces.models import Member, Role
from postroom.workspaces.sealed import SealBroken

log = logging.getLogger("postroom.sending")
PREFIX = "server:"
JOURNAL_NOTICE = "journal_set_aside"
LINGER_SECONDS = 5.0
RUN_SECONDS = 30.0
T = TypeVar("T")


async def drain(lane: str) -> datetime | None:
    """Send what is due in the lanes a server carries; return when they want to be asked again (None: never).

    Nothing is claimed without a relay. One that cannot be reached is left alone with growing gaps while
    another stands in for it or its lanes wait; no Email fails by that before its deadline.
    """
    found = await asyncio.to_thread(_in_thread, _look_at, lane)
    if not isinstance(found, _Ready):
        return found
    server, run = found.server, await _run(found)
    failure = trouble.found_in(run)
    if failure is not None and not run.is_outdated:
        return await asyncio.to_thread(_in_thread, trouble.leave_alone, server, failure)
    if run.is_connected:
        await asyncio.to_thread(_in_thread, trouble.is_over, server)
    return await asyncio.to_thread(_in_thread, _next_at, server)


class _Ready(NamedTuple):
    """A server that may be drained: what `server_settings` says of it, read first, and how to reach it.

    `is_away`: another one stands in for it, so that it is tried before anything is claimed for it.
    """

    settings: str
    server: MailServer
    relay: Relay | Account
    is_away: bool


def _look_at(lane: str) -> _Ready | datetime | None:
    """What a run needs, in one go because every thread hop costs a connection; else when to come back."""
    settings, server = _server_of(lane)
    if server is None or not connection_share(server, stations.place()).limit:
        return None  # when our place changes, the engine looks again
    if server.down_until is not None and server.down_until > writing_back.clock():
        return trouble.stay_away(server)
    relay = _relay_of(server)
    if isinstance(relay, Trouble):
        return trouble.leave_alone(server, relay)
    _recover_failed_runs()
    return _Ready(settings, server, relay, _is_away(server))


async def _run(ready: _Ready) -> Drain:
    run = Drain(
        ready.server,
        ready.relay,
        settings=ready.settings,
        linger_seconds=LINGER_SECONDS,
        run_seconds=RUN_SECONDS,
    )
    with tracing.draining(ready.server, run.lease):
        async with run:
            await _empty(ready, run)
    return run


async def _empty(ready: _Ready, run: Drain) -> None:
    if ready.is_away and not await run.connect():
        return
    while await run.claim() and run.feed.is_empty:
        continue  # all of it was captured
    if not run.feed.is_empty:
        await run.send()


def _relay_of(server: MailServer) -> Relay | Account | Trouble:
    """How to reach the server, or why that cannot be told, or why it must not be."""
    if not server.is_active:
        return Trouble(holds.SERVER_ARCHIVED, "The server is archived")
    try:
        if server.transport == MailServer.Transport.ESP:
            return esp.account_of(server)
        relay = relays.relay_of(server)
    except (ValueError, SealBroken) as error:
        return Trouble(holds.SERVER_UNREACHABLE, str(error))
    return relay or Trouble(holds.NO_SERVER, "No relay is set (RELAY_URL)")


def recover(*, is_start: bool = True) -> int:
    """Settle what workers that are gone had in hand; return how many Emails were settled.

    At the start of an engine every server is worth a try again, too. On SQLite there is only one engine, so
    a lease that no living worker holds is recovered at once; on PostgreSQL one without a journal
    here may belong to another machine until its time is over.
    """
    if is_start:
        holds.reopen_all()
    now, count = writing_back.clock(), 0
    for settlement in recovering.recover(
        is_alone=connection.vendor == "sqlite",
        now=now,
        policy_of=writing_back.policy_of,
        tell=writing_back.tell,
        set_aside=_journal_set_aside,
    ):
        mail_log.attempts(settlement.ended, now, settlement.verdicts)
        count += settlement.count
    return count


def _journal_set_aside(path: Path, error: Exception) -> None:
    """Operators must know: what it says was answered is not written down."""
    log.error(
        "The journal %s cannot be settled (%s: %s) and is set aside. Its emails count as uncertain",
        path,
        type(error).__name__,
        error,
    )
    notices.tell_members(Member.objects.active().filter(role=Role.OPERATOR), JOURNAL_NOTICE)


def due() -> list[str]:
    """The servers that have something due, and those that are worth another try."""
    return _in_thread(_due)


KIND = LaneKind(PREFIX, drain, due, is_numbered=True)


def _due() -> list[str]:
    mailing_turns.go_on()
    server_ids = {*claiming.due_server_ids(), *holds.homes_to_try(writing_back.clock())}
    return [f"{PREFIX}{server_id}" for server_id in sorted(server_ids)]


def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Use the database in a thread of the engine: its connection is closed again."""
    try:
        return function(*arguments)
    finally:
        connections.close_all()


def _server_of(lane: str) -> tuple[str, MailServer | None]:
    """A server (None: it is gone) and, read before it, what `server_settings` says of it."""
    server_id = int(lane.removeprefix(PREFIX))
    settings = server_settings.of(server_id)
    return settings, MailServer.objects.defer(*relays.SECRETS).filter(pk=server_id).first()


def _is_away(server: MailServer) -> bool:
    return server.failure_count > 0 and bool(holds.carriers_of(server.pk))


def _recover_failed_runs() -> None:
    """A run that could not write back leaves its journal: settle that first."""
    if recovering.is_anything_left():
        recover(is_start=False)


def _next_at(server: MailServer) -> datetime | None:
    mailing_turns.go_on()
    now, lanes = claiming.waiting(server.pk)
    return claiming.next_at(lanes, now)
