"""One run over a server's lanes: claim, send and write back overlap, on kept connections."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import connections

from postroom import engine
from postroom.flows import measuring, signing_keys, tracing, writing_back
from postroom.flows.esp_sending import EspConnections
from postroom.outgoing import claiming, holds, recovering, server_settings
from postroom.outgoing.claiming import Claim, Claimed
from postroom.outgoing.copies import Copies, Text
from postroom.outgoing.esp import Account
from postroom.outgoing.feed import OutgoingFeed
from postroom.outgoing.journal import Journal
from postroom.outgoing.models import MailServer
from postroom.outgoing.signing import Signing
from postroom.smtp.client import Connections
from postroom.smtp.errors import RelayUnreachable
from postroom.smtp.relay import Relay
from postroom.wire.reply import Outcome
from postroom.workspaces import installation, stations
from postroom.workspaces.capture_rules import Capture

FIRST_CLAIM = 100
URGENT_CLAIM = 20
URGENT_CONNECTIONS = 5
CLAIM_LASTS_SECONDS = (0.5, 2.0)
WRITE_BACK_SECONDS = 0.05
LOOK_SECONDS = 0.5
RENEW_SECONDS = 60.0
LEASE_SHARE = 0.8  # of a lease may pass before nothing more begins under it
T = TypeVar("T")


class Drain:
    """Use as `async with`: leaving it settles and gives back everything, whatever happened inside.

    `next_at` is when the lanes want to be asked again, `failure` what kept the server from being reached.
    `settings` is what `server_settings.of` said before the relay was read. Twice a second a run looks whether
    that, capture mode or our place among those that drain is still as it was; if not, it `is_outdated`: it
    gives back what has not begun and ends, so that the next one goes by what holds now.
    """

    def __init__(
        self,
        server: MailServer,
        relay: Relay | Account,
        *,
        settings: str,
        linger_seconds: float,
        run_seconds: float,
    ) -> None:
        self.server = server
        self.settings = settings
        self.place = stations.place()
        self.captures: dict[int, Capture] = {}
        self.linger_seconds = linger_seconds
        self.run_seconds = run_seconds
        self.lease = uuid.uuid4().hex
        self.loop = asyncio.get_running_loop()
        self.store = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.claims = ThreadPoolExecutor(1, thread_name_prefix="claims")  # neither waits for the other
        self.turn = asyncio.Event()
        self.journal = Journal(recovering.journal_folder(), self.lease)
        self.copies = Copies(is_signing=isinstance(relay, Relay))  # a provider signs what it has put together
        signing = Signing(self.copies, in_loop=self.loop.call_soon_threadsafe)
        self.feed = OutgoingFeed(
            self.copies,
            self.journal,
            signing,
            notify=self.turn.set,
            kick=self._kick_if_open,
            slow_down=self._slow_down,
            is_unverified=not relay.verify_certificate,
        )
        self.pools = _pools(relay, self.feed, connection_share(server, self.place))
        if server.down_because == holds.THROTTLED:
            self._begin_slowly()
        self.next_at: datetime | None = None
        self.failure: RelayUnreachable | None = None
        self.is_dry = self.is_woken = self.is_connected = self.is_outdated = False
        self.last_lane_id = 0
        self.claim_size = FIRST_CLAIM
        self.claimed_at = self.written_at = self.loop.time()
        self.claiming: asyncio.Task[None] | None = None
        self.writing: asyncio.Task[None] | None = None
        self.listening: asyncio.Task[None] | None = None
        self.watching: asyncio.Task[None] | None = None
        self.renewed_at = self.loop.time()
        self._trust_lease(self.renewed_at)

    async def __aenter__(self) -> Drain:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections, write back what they brought, give back what never left."""
        try:
            await self._end_tasks()
            left = self.feed.close()
            await asyncio.gather(*(pool.close() for pool in self.pools))
            await self._write_back()
            is_shown = self.failure is not None or self.feed.pace.is_spent
            await self.in_store(claiming.release, self.lease, left, is_shown=is_shown)
            if not await self.in_store(claiming.held_under, self.lease):
                self.journal.remove()  # else something could not be written back, and recovery needs it
        finally:
            self.journal.close()
            for thread in (self.store, self.claims):
                await self.loop.run_in_executor(thread, connections.close_all)
                thread.shutdown(wait=False)

    async def in_store(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Run something that uses the database in this run's own thread."""
        return await self.loop.run_in_executor(self.store, functools.partial(function, *arguments, **named))

    async def claim(self) -> bool:
        """Take more in hand; False if nothing is due."""
        is_low = self.feed.is_low
        self.is_woken = False
        limit = self.claim_size if is_low else URGENT_CLAIM
        got, emails, texts = await self.loop.run_in_executor(self.claims, self._take, limit)
        self.last_lane_id, self.next_at = got.last_lane_id, got.next_at
        self.copies.keep(texts, self.feed.renditions() | {email.rendition_id for email in emails})
        self.feed.add(emails)
        self.is_dry = not got.emails
        if is_low:
            self._suit_claim_size()
        return bool(emails) or self._is_more_due(got)

    def _take(self, limit: int) -> tuple[Claim, list[Claimed], Mapping[int, Text]]:
        """Runs in a thread of its own."""
        got = claiming.claim(
            self.server.pk,
            self.lease,
            limit=limit,
            after_lane_id=self.last_lane_id,
            tell=writing_back.tell,
        )
        writing_back.tell_of_limits(got)
        captures = installation.captures_of({email.workspace_id for email in got.emails})
        self.captures = {**captures, **self.captures}  # what differs from before is seen at the next look
        emails = writing_back.without_captured(self.lease, got.emails, captures)
        texts = self.copies.load(emails)
        if unreadable := self.copies.take_unreadable_keys():
            signing_keys.tell_unreadable(unreadable)
        return got, emails, texts

    def _suit_claim_size(self) -> None:
        """As many as leave in about a second: few at a slow server, so that much does not wait in hand."""
        now = self.loop.time()
        shortest, longest = CLAIM_LASTS_SECONDS
        lasted, self.claimed_at = now - self.claimed_at, now
        if lasted < shortest:
            self.claim_size = min(self.claim_size * 2, claiming.LONGEST_CLAIM)
        elif lasted > longest:
            self.claim_size = max(self.claim_size // 2, FIRST_CLAIM)
        self.feed.low_water = self.claim_size // 2

    async def connect(self) -> bool:
        """Open the first connection if there is none; False if the server is not reached."""
        if not self.is_connected:
            self.failure = await self._first_connection()
        return self.is_connected

    async def send(self) -> None:
        """Send until nothing is due, nothing is on its way and no wake-up came for a while."""
        if not await self.connect():
            return
        self.listening = self._task(self._listen())
        self.watching = self._task(self._watch())
        self._kick()  # what was signed since the first connection looked
        yield_at = self.loop.time() + self.run_seconds
        while not self._is_over():
            is_yielding = self.loop.time() > yield_at or engine.is_stopping()
            self._keep_going(is_yielding=is_yielding)
            if is_yielding and self.loop.time() > yield_at + 2 and not engine.is_stopping():
                yield_at = (
                    self.loop.time() + self.run_seconds
                )  # a slow answer must not keep the others waiting
            if not await self._wait(is_yielding=is_yielding):
                return

    async def _first_connection(self) -> RelayUnreachable | None:
        try:
            await self.pools[0].start()
        except RelayUnreachable as failure:
            return failure
        self.is_connected = True
        offers = self.pools[0].offers
        max_octets = offers.max_octets if offers else None
        await self.in_store(writing_back.server_was_reached, self.server, max_octets)
        return None

    def _is_over(self) -> bool:
        """Is the server gone or changed, or does it ask to be left alone, and is all on its way settled?"""
        self.failure = self.pools[0].failure
        for pool in self.pools:
            if pool.fault is not None:
                raise pool.fault
        has_ended = self.failure is not None or self.feed.pace.is_spent or self.is_outdated
        return has_ended and not self.feed.flying

    def _slow_down(self) -> None:
        for pool in self.pools:
            pool.slow_down()

    def _begin_slowly(self) -> None:
        """The server asked for less the last time: one connection, and more only as it takes mail."""
        for pool in self.pools:
            pool.pace = 1

    def _keep_going(self, *, is_yielding: bool) -> None:
        for task in (self.claiming, self.writing, self.watching):
            if task is not None and task.done():
                task.result()  # a database that fails ends the run; the journal knows what was sent
        if _is_free(self.writing) and self._is_group_ready():
            self.written_at = self.loop.time()
            self.writing = self._task(self._write_back())
        is_wanted = self.feed.is_low or self.is_woken
        if (
            is_wanted
            and not (self.is_dry or is_yielding or self.failure or self.feed.pace.is_spent)
            and not self.is_outdated
            and _is_free(self.claiming)
        ):
            self.claiming = self._task(self._claim_and_kick())

    def _is_group_ready(self) -> bool:
        """Is there enough to write back at once, or has something waited for it, or comes nothing more?"""
        feed = self.feed
        is_overdue = self.loop.time() >= self.written_at + WRITE_BACK_SECONDS
        return bool(feed.unsendable) or bool(feed.ended and (feed.is_group or feed.is_ebbing or is_overdue))

    async def _wait(self, *, is_yielding: bool) -> bool:
        """Wait for the next thing to do; False if there is none."""
        is_quiet = self.feed.is_empty and _is_free(self.writing) and _is_free(self.claiming)
        if is_quiet and (is_yielding or (self.is_dry and not await self._linger())):
            return False
        if not is_quiet:
            await self._turn(LOOK_SECONDS if not self.feed.ended else WRITE_BACK_SECONDS)
            if self.is_dry and self._is_due():
                self.is_dry = False
        return True

    async def _linger(self) -> bool:
        """Keep the connections for a moment: an answer often follows soon."""
        if self.listening is None or self.listening.done():
            return False
        await self._turn(self.linger_seconds)
        return not self.is_dry

    async def _turn(self, seconds: float) -> None:
        timer = self.loop.call_later(seconds, self.turn.set)
        await self.turn.wait()
        timer.cancel()
        self.turn.clear()

    async def _listen(self) -> None:
        """A wake-up during the run is urgent mail that should not wait for its end."""
        while await engine.next_wake(self.server.engine_lane, 3600):
            self.is_dry, self.is_woken = False, True
            self.turn.set()
        self.turn.set()

    async def _watch(self) -> None:
        """Look whether what this run goes by still holds, and keep the lease while it lasts."""
        while not self.is_outdated:
            await asyncio.sleep(LOOK_SECONDS)
            if self.loop.time() >= self.renewed_at + RENEW_SECONDS:
                await self._renew()
            if await self.loop.run_in_executor(self.claims, self._has_changed):
                self.is_outdated = True
        left = self.feed.close()
        self.turn.set()
        await asyncio.shield(self.in_store(claiming.release, self.lease, left))

    async def _renew(self) -> None:
        """One whose time was over meanwhile may belong to another machine: nothing more begins under it.

        A clock that stood still with its machine does not tell; that nothing is left under the lease does.
        """
        began_at = self.loop.time()
        had_some = bool(self.feed.waiting_count)
        is_lost = not await self.in_store(claiming.renew, self.lease) and had_some
        self.is_outdated = self.is_outdated or is_lost or began_at >= self.feed.stops_at
        self.renewed_at = began_at
        self._trust_lease(began_at)

    def _trust_lease(self, since: float) -> None:
        self.feed.stops_at = since + claiming.lease_seconds() * LEASE_SHARE

    def _has_changed(self) -> bool:
        """Runs in a thread: two small questions."""
        if stations.place() != self.place:
            return True
        known = dict(self.captures)
        return server_settings.of(self.server.pk) != self.settings or installation.captures_of(known) != known

    async def _claim_and_kick(self) -> None:
        await self.claim()
        self._kick()

    def _kick_if_open(self) -> None:
        """Hand out what was signed; before the first connection is open, its opening does."""
        if self.listening is not None:
            self._kick()

    def _kick(self) -> None:
        for pool in self.pools:
            pool.kick()

    async def _write_back(self) -> None:
        ended, unsendable = self.feed.take_ended()
        if not self.feed.is_open or any(pool.failure for pool in self.pools):
            untouched = [each.email for each in ended if each.outcome is Outcome.UNREACHABLE]
            ended = [each for each in ended if each.outcome is not Outcome.UNREACHABLE]
            await self.in_store(claiming.release, self.lease, untouched, is_shown=True)
            self.is_dry = self.is_dry and not untouched
        with tracing.settling(self.lease, ended):
            await self.in_store(writing_back.write_back, self.lease, ended, unsendable)
        measuring.attempts(self.server, ended, writing_back.clock())

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        task.add_done_callback(lambda _: self.turn.set())
        return task

    async def _end_tasks(self) -> None:
        for watcher in (self.listening, self.watching):
            if watcher is not None:
                watcher.cancel()
        known = (self.claiming, self.writing, self.listening, self.watching)
        tasks = [task for task in known if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_due(self) -> bool:
        return self.next_at is not None and self.next_at <= writing_back.clock()

    def _is_more_due(self, got: Claim) -> bool:
        return bool(got.emails or got.failed_message_ids) and self._is_due()


@dataclass(frozen=True, slots=True)
class ConnectionShare:
    """How many connections to a server are ours, and how many of these are kept for urgent mail."""

    limit: int
    kept: int


def connection_share(server: MailServer, place: tuple[int, int]) -> ConnectionShare:
    """Our part of a server's connections: over all stations that drain, no more than its limit.

    A quarter of them, five at most, is for urgent mail, which never waits behind bulk; a station with a
    single connection keeps none. A `limit` of 0 leaves the server to the others.
    """
    limit = stations.share_of(server.connection_limit, server.pk, place)
    kept = min(server.connection_limit // 4, URGENT_CONNECTIONS)
    return ConnectionShare(limit, max(0, min(stations.share_of(kept, server.pk, place), limit - 1)))


def _pools(
    relay: Relay | Account, feed: OutgoingFeed, share: ConnectionShare
) -> list[Connections] | list[EspConnections]:
    """Connections for everything, and those that are kept for urgent mail.

    Calls to an API are short and end one by one, so urgent mail waits for the next of them at most.
    """
    if isinstance(relay, Account):
        return [EspConnections(relay, feed, feed, limit=share.limit)]
    pools = [Connections(relay, feed, feed, limit=share.limit - share.kept)]
    if share.kept:
        pools.append(Connections(relay, feed.urgent_only(), feed, limit=share.kept))
    return pools


def _is_free(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()
