"""A server in trouble: left alone for a while, with another in its place where one fits; and back again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from postroom import engine
from postroom.diagnostics import mail_log
from postroom.diagnostics.events import EventKind, note
from postroom.flows import notices, writing_back
from postroom.flows.draining import Drain
from postroom.outgoing import claiming, expiring, holds, oauth_tokens, relays
from postroom.outgoing.models import MailServer
from postroom.outgoing.retry import hold_seconds, throttled_seconds
from postroom.outgoing.stand_ins import Change
from postroom.wire.characters import shortened
from postroom.workspaces.models import Member, Role

log = logging.getLogger("postroom.sending")
NO_SERVER_SECONDS = 300.0
TOLD_AT_FAILURE = 6  # in a row, some eight minutes after the first: by then it is no hiccup
SERVER_DOWN = "server_down"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a server is left alone: one of `holds.SERVER_TROUBLES`, and its words.

    `is_first`: it took mail before this, so that the gaps begin anew.
    """

    because: str
    words: str
    is_first: bool = False


def found_in(run: Drain) -> Trouble | None:
    """What ended a run before its time."""
    pace = run.feed.pace
    if run.failure is not None:
        return Trouble(holds.SERVER_UNREACHABLE, shortened(str(run.failure)))
    if not pace.is_asked_for_less:
        return None
    return Trouble(holds.THROTTLED, shortened(pace.last_words), is_first=pace.has_accepted)


def leave_alone(server: MailServer, trouble: Trouble) -> datetime | None:
    """Hold a server, move its lanes to stand-ins, expire what waited too long.

    Return when the server is worth another try; None if nothing waits for that.
    """
    if trouble.is_first:
        holds.forget(server.pk)
        server.failure_count = 0
    now = writing_back.clock()
    until = now + timedelta(seconds=_seconds(trouble.because, server.failure_count + 1))
    with transaction.atomic():
        held = holds.hold_server(server.pk, until, trouble.because, trouble.words)
        note_changes(held.changes, trouble.words)
    if held.is_news:
        log.warning(
            "Mail over the server %s waits, and no email fails by it: %s",
            server.name,
            trouble.words,
            extra=mail_log.HAS_LINE,
        )
        mail_log.server_down(server.name, trouble.because, trouble.words, until)
    if trouble.because == holds.SERVER_UNREACHABLE:
        oauth_tokens.forget(server.pk)
        _expire(server, now)
        if server.failure_count + 1 == TOLD_AT_FAILURE:
            _tell_of(server)
    _wake(change.via for change in held.changes)
    return until if _is_missed(server) else None


def stay_away(server: MailServer) -> datetime | None:
    """A server that is left alone was woken: see that lanes made meanwhile are held or carried, too."""
    with transaction.atomic():
        note_changes(holds.keep_away(server), server.last_failure)
    _wake(holds.carriers_of(server.pk))
    return server.down_until if _is_missed(server) else None


def is_over(server: MailServer) -> None:
    """A run without trouble."""
    if server.failure_count:
        holds.forget(server.pk)
        log.info("Mail leaves over the server %s again", server.name, extra=mail_log.HAS_LINE)
        mail_log.server_up(server.name)


def note_changes(changes: Iterable[Change], why: str) -> None:
    """Tell in each workspace's events who stands in for whom, and why."""
    told = {}
    for change in changes:
        if change.via is not None:
            told[(change.workspace, change.home.name, change.via.name)] = change
    for workspace, home, via in told:
        note(EventKind.STAND_IN, workspace=workspace, home=home, via=via, why=why)


def _seconds(because: str, count: int) -> float:
    if because in (holds.NO_SERVER, holds.SERVER_ARCHIVED):
        return NO_SERVER_SECONDS
    return throttled_seconds(count) if because == holds.THROTTLED else hold_seconds(count)


def _tell_of(server: MailServer) -> None:
    """Tell who can do something about a server that mail waits for: once for each time it is down."""
    workspace_ids = {lane.workspace_id for lane in claiming.waiting(server.pk)[1] if not lane.is_gated}
    if not workspace_ids:
        return  # another one stands in, or nobody misses it
    if server.is_shared:
        concerned = Member.objects.filter(role=Role.OPERATOR)
    else:
        admins = Q(role__in=[Role.OPERATOR, Role.ADMIN]) | Q(pk=server.owner_id)
        concerned = Member.objects.filter(admins, workspace_id__in=workspace_ids)
    notices.tell_members(concerned.filter(is_active=True, user__is_active=True), SERVER_DOWN)


def _expire(server: MailServer, now: datetime) -> None:
    failing = MailServer.objects.defer(*relays.SECRETS).get(pk=server.pk)
    for each in expiring.expire_unreached(failing, now, writing_back.policy_of, tell=writing_back.tell):
        mail_log.attempts(each.ended, now, each.verdicts)


def _is_missed(server: MailServer) -> bool:
    is_asked = any(not lane.is_gated for lane in claiming.waiting(server.pk)[1])
    return is_asked or bool(holds.carriers_of(server.pk))


def _wake(servers: Iterable[MailServer | None]) -> None:
    for name in {server.engine_lane for server in servers if server is not None}:
        engine.wake(name)
