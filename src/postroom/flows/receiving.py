"""Mail comes in: taken or refused while its sender still waits, and stored before it is called ours."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TypeVar, assert_never

from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from postroom import engine
from postroom.diagnostics import mail_log
from postroom.flows import measuring, tracing
from postroom.flows.bouncing import UNMATCHED, take_report
from postroom.flows.filing import LANE, due, post_stored
from postroom.incoming import log as incoming_log
from postroom.incoming import replies
from postroom.incoming.counts import RecentCounts, network_of
from postroom.incoming.log import HOUR_SECONDS, Caller
from postroom.incoming.lookup import Addresses, WorkspaceFiles, target_of
from postroom.incoming.models import ReceivedEmail, ReceivedState, SpooledMail
from postroom.incoming.places import Place, is_accepted, place, reply_to_recipient
from postroom.incoming.reading import FirstLook, look_at
from postroom.incoming.routing import IsBounce, IsReply, OpensRecord, Refused, Verdict, route
from postroom.smtp.door import Session, Transaction
from postroom.wire.identity import retry_identities
from postroom.wire.parse import parse
from postroom.wire.reply import Reply
from postroom.workspaces.models import Workspace

__all__ = ["LANE", "Arrival", "Caller", "FrontDoor", "check_recipient", "due", "post_stored", "receive"]

log = logging.getLogger("postroom.receiving")
MOST_MISSES = 3
RETRY_WINDOW = timedelta(minutes=10)
_TRIES = 3
_KEPT = (ReceivedState.STORED, ReceivedState.POSTED, ReceivedState.BOUNCE, ReceivedState.SET_ASIDE)
_misses = RecentCounts(window_seconds=HOUR_SECONDS)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A mail with its envelope, from any source. Without `forward_paths` its headers say whom it is for."""

    source: str
    peer: str = ""
    helo: str = ""
    reverse_path: str = ""
    forward_paths: tuple[str, ...] = ()
    octets: bytes

    @property
    def caller(self) -> Caller:
        """Who brought it."""
        return Caller(source=self.source, peer=self.peer, helo=self.helo, reverse_path=self.reverse_path)


def check_recipient(
    caller: Caller, forward_path: str, earlier: Sequence[Place] = ()
) -> tuple[Reply, Place | None]:
    """Answer RCPT TO; the place is None if the recipient is not accepted.

    `earlier` are the places accepted before in the same mail transaction. Every refusal that is final is a
    line of the incoming log. Trouble with the database is answered 451, so that the sender keeps the mail.
    """
    try:
        found = place(forward_path, Addresses())
        is_missing_often = _misses.count(network_of(caller.peer)) >= MOST_MISSES
        reply = reply_to_recipient(found, earlier, is_missing_often=is_missing_often)
        if reply.code >= 500:
            _refuse_at_rcpt(caller, forward_path, reply)
            measuring.received(ReceivedState.REFUSED)
    except Exception as error:  # whatever goes wrong here, the sender keeps the mail and comes back
        _say_trouble(f"Could not answer {caller.peer or caller.source} for a recipient", error)
        return replies.TROUBLE, None
    return reply, found if isinstance(found, Place) and is_accepted(reply) else None


def receive(arrival: Arrival) -> Reply:
    """Take a mail or refuse it. A 2yz means: committed to stable storage, and ours from now on.

    Several routes of one mail are stored together; if one takes it the answer is 2yz, and what the others
    refused is in the incoming log. Never raises: trouble on our side is 451 and nothing is stored.
    """
    try:
        with tracing.receiving(arrival.source, arrival.octets):
            return _receive(arrival)
    except Exception as error:  # whatever goes wrong here, the sender keeps the mail and comes back
        _say_trouble(f"Could not take a mail from {arrival.peer or arrival.source}", error)
        measuring.received(measuring.DEFERRED)
        return replies.TROUBLE


def _say_trouble(what: str, error: Exception) -> None:
    """A database that does not answer is one line; anything else is a defect and shows where."""
    if isinstance(error, (OperationalError, InterfaceError)):
        log.warning("%s: the database does not answer (%s)", what, " ".join(str(error).split()))
    else:
        log.error("%s", what, exc_info=error)


def _receive(arrival: Arrival) -> Reply:
    look = look_at(arrival.octets, arrival.reverse_path)
    book = Addresses()
    found = [(path, place(path, book)) for path in arrival.forward_paths or look.seen]
    places = sorted((p for _, p in found if isinstance(p, Place)), key=lambda p: p.workspace_id)
    if not places:
        path, reply = next(
            ((path, r) for path, r in found if isinstance(r, Reply)), ("", replies.NO_SUCH_ADDRESS)
        )
        _refuse_at_rcpt(arrival.caller, path, reply)
        measuring.received(ReceivedState.REFUSED if reply.code >= 500 else measuring.DEFERRED)
        return reply
    by_workspace = groupby(places, key=lambda p: p.workspace_id)
    answers = [_receive_in(pk, arrival, look, list(group)) for pk, group in by_workspace]
    return _best(answers)


def _refuse_at_rcpt(caller: Caller, forward_path: str, reply: Reply) -> None:
    row = incoming_log.refuse_at_rcpt(caller, forward_path, reply)
    if row is not None:
        mail_log.arrived(row, "refused")


def _best(answers: Sequence[Reply]) -> Reply:
    """Taken if anybody took it; else a reason to come back; else the first refusal."""
    taken = [answer for answer in answers if is_accepted(answer)]
    temporary = [answer for answer in answers if 400 <= answer.code < 500]
    return (taken or temporary or list(answers))[0]


def _receive_in(workspace_id: int, arrival: Arrival, look: FirstLook, places: list[Place]) -> Reply:
    verdicts = route(look.incoming(arrival.reverse_path, places), WorkspaceFiles(workspace_id))
    workspace = Workspace.objects.get(pk=workspace_id)
    for _ in range(_TRIES):
        try:
            with transaction.atomic():
                receipt = _Receipt(workspace, arrival, look)
                return _best([receipt.act_on(verdict) for verdict in verdicts])
        except IntegrityError:  # the same mail came over another connection: now its lines can be seen
            continue
    return replies.TROUBLE


class _Receipt:
    """Writes what was decided about one mail in one workspace, in the transaction that is open."""

    def __init__(self, workspace: Workspace, arrival: Arrival, look: FirstLook) -> None:
        self.workspace = workspace
        self.arrival = arrival
        self.look = look
        self.identity, self.earlier_identity = _identities(arrival, look)
        self.spooled: SpooledMail | None = None

    def act_on(self, verdict: Verdict) -> Reply:
        match verdict:
            case IsBounce():
                return self.take_bounce(verdict)
            case IsReply() | OpensRecord():
                return self.store(verdict)
            case Refused():
                return self.refuse(verdict)
            case _:
                assert_never(verdict)

    def line(self, forward_path: str) -> ReceivedEmail:
        row = incoming_log.line(self.arrival.caller, forward_path, self.look, size=len(self.arrival.octets))
        row.workspace, row.identity = self.workspace, self.identity
        return row

    def take_bounce(self, verdict: IsBounce) -> Reply:
        row = self.line(verdict.addr_spec)
        row.target = target_of(verdict)
        if self.known(row) is not None:
            return self.repeat(row)
        text = "" if self.look.report else _text_of(self.arrival.octets)
        taken = take_report(
            self.look.report,
            verdict.token,
            workspace=self.workspace,
            text=text,
            is_credible=verdict.is_credible,
        )
        if taken.reason == UNMATCHED and verdict.is_provisional:
            return self.refuse(Refused(replies.NO_SUCH_ADDRESS, UNMATCHED, verdict.addr_spec))
        if is_accepted(taken.reply):
            row.state, row.reason, row.message = ReceivedState.BOUNCE, taken.reason, taken.message
            row.record_id = taken.message.record_id if taken.message else None
            row.reply_code = taken.reply.code
            row.save()
            mail_log.arrived(row, "report", taken.message)
            _count(ReceivedState.BOUNCE)
        return taken.reply

    def store(self, verdict: IsReply | OpensRecord) -> Reply:
        row = self.line(verdict.addr_spec)
        row.target = target_of(verdict)
        earlier = self.known(row)
        if earlier is not None:
            return self.revive(earlier, verdict) or self.repeat(row)
        row.state, row.reply_code = ReceivedState.STORED, replies.TAKEN.code
        self.save(row, verdict)
        return replies.TAKEN

    def save(self, row: ReceivedEmail, verdict: IsReply | OpensRecord) -> None:
        row.record_id, row.spooled = verdict.record_id, self.spool()
        row.route = {
            "alias": verdict.alias_id,
            "parent": verdict.parent_id if isinstance(verdict, IsReply) else None,
            "automatic": self.look.why_automatic,
            "signed": isinstance(verdict, IsReply) and verdict.is_signed,
            "by_references": isinstance(verdict, IsReply) and verdict.is_by_references,
        }
        row.save()
        _count(ReceivedState.STORED)
        mail_log.arrived(row, "received")
        transaction.on_commit(lambda: engine.wake(LANE))

    def revive(self, earlier: ReceivedEmail, verdict: IsReply | OpensRecord) -> Reply | None:
        """Post what had been set aside after all, from the octets that came now; None if it was not."""
        if earlier.state != ReceivedState.SET_ASIDE:
            return None
        aside = ReceivedEmail.objects.select_for_update().filter(state=ReceivedState.SET_ASIDE)
        row = aside.filter(pk=earlier.pk).first()
        if row is None:  # another connection brought it, too, and was faster
            return None
        row.state, row.attempt_count, row.reason = ReceivedState.STORED, 0, ""
        row.lease, row.leased_until = "", None
        self.save(row, verdict)
        return replies.TAKEN

    def known(self, row: ReceivedEmail) -> ReceivedEmail | None:
        """The line of the same mail that is ours already."""
        kept = ReceivedEmail.objects.filter(workspace=self.workspace, target=row.target, state__in=_KEPT)
        same = Q(identity=row.identity)
        if self.earlier_identity is not None:
            same |= Q(identity=self.earlier_identity, received_at__gt=Now() - RETRY_WINDOW)
        return kept.filter(same).order_by("pk").first()

    def repeat(self, row: ReceivedEmail) -> Reply:
        if incoming_log.note_ending(row, ReceivedState.DUPLICATE, "already_received", replies.ALREADY_TAKEN):
            mail_log.arrived(row, "duplicate")
        _count(ReceivedState.DUPLICATE)
        return replies.ALREADY_TAKEN

    def spool(self) -> SpooledMail:
        """The raw octets, stored once for all routes of the mail."""
        if self.spooled is None:
            octets = self.arrival.octets
            digest = hashlib.sha256(octets).hexdigest()
            self.spooled = SpooledMail.objects.create(
                workspace=self.workspace, digest=digest, size=len(octets), octets=octets
            )
        return self.spooled

    def refuse(self, verdict: Refused) -> Reply:
        row = self.line(verdict.addr_spec)
        if incoming_log.note_ending(row, ReceivedState.REFUSED, verdict.reason, verdict.reply):
            mail_log.arrived(row, "refused")
        _count(ReceivedState.REFUSED)
        if verdict.reason == "unknown_recipient":
            _misses.add(network_of(self.arrival.peer))
        return verdict.reply


def _count(state: ReceivedState) -> None:
    """Once it is true: a transaction that is begun again decides again."""
    transaction.on_commit(lambda: measuring.received(state))


def _identities(arrival: Arrival, look: FirstLook) -> tuple[str, str | None]:
    """The mail's identity; if it has none, what a retry has within RETRY_WINDOW, now and a window ago."""
    if look.identity is not None:
        return look.identity, None
    period = int(timezone.now().timestamp() // RETRY_WINDOW.total_seconds())
    return retry_identities(arrival.octets, arrival.peer, period)


def forget_misses() -> None:
    """Begin the hour of every network again."""
    _misses.clear()


def _text_of(octets: bytes) -> str:
    return parse(octets).text


class FrontDoor:
    """Our SMTP listener's door (`smtp.door.Door`): what it decides, it decides in threads of its own.

    Each thread keeps its database connection. `close()` waits for what is being decided.
    """

    def __init__(self, *, threads: int = 8) -> None:
        self._connections: list[BaseDatabaseWrapper] = []
        self._threads = ThreadPoolExecutor(threads, "front-door", self._remember_connection)
        self._accepted: OrderedDict[str, list[Place]] = OrderedDict()

    async def sender(self, session: Session, reverse_path: str, size: int | None) -> Reply:
        """Any reverse-path may come in; a new mail transaction begins without recipients."""
        self._accepted[session.id] = []
        self._accepted.move_to_end(session.id)
        if len(self._accepted) > _SESSIONS:  # sessions that are over: nobody says goodbye to a door
            self._accepted.popitem(last=False)
        return replies.SENDER_OK

    async def recipient(self, session: Session, forward_path: str) -> Reply:
        """Answer RCPT TO by what is known of the address."""
        earlier = self._accepted.setdefault(session.id, [])
        caller = Caller(
            source="smtp", peer=session.peer, helo=session.helo, reverse_path=session.reverse_path
        )
        reply, found = await self._decide(lambda: check_recipient(caller, forward_path, earlier))
        if found is not None:
            earlier.append(found)
        return reply

    async def content(self, session: Session, transaction: Transaction) -> Reply:
        """Take the mail, or refuse it while its sender waits."""
        self._accepted.pop(session.id, None)
        arrival = Arrival(
            source="smtp",
            peer=session.peer,
            helo=session.helo,
            reverse_path=transaction.reverse_path,
            forward_paths=tuple(transaction.forward_paths),
            octets=transaction.content,
        )
        return await self._decide(lambda: receive(arrival))

    def close(self) -> None:
        """End the threads once they have decided, and their connections."""
        self._threads.shutdown(wait=True)
        for each in self._connections:
            each.close()

    def _remember_connection(self) -> None:
        """Runs at the start of each thread: nobody else could close its connection when it is over."""
        own = connections[DEFAULT_DB_ALIAS]
        own.inc_thread_sharing()
        self._connections.append(own)

    async def _decide(self, decision: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _with_connection, decision)


_SESSIONS = 2000


def _with_connection(decision: Callable[[], Answer]) -> Answer:
    close_old_connections()
    try:
        return decision()
    finally:
        close_old_connections()
