"""The pool: kept connections to one relay, and the mails that wait for one."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import replace

from postroom.smtp.connection import Connection
from postroom.smtp.errors import RelayUnreachable
from postroom.smtp.mail import Feed, Journal, MailObject, Settled
from postroom.smtp.offers import Offers
from postroom.smtp.opening import open_connection
from postroom.smtp.relay import RFC5321_TIMEOUTS, Relay, Security, Timeouts
from postroom.smtp.scrubbing import scrubbed, secrets_of
from postroom.wire.reply import Outcome, Reply

FRUITLESS_LIMIT = 3
ACCEPTED_FOR_ONE_MORE = 50


class Connections:
    """A pool of kept connections to one relay, fed by `feed`, growing up to `limit` while mail waits.

    Every mail taken from the feed ends in exactly one `feed.settled()`. A mail whose content was not sent
    when its connection ended through no fault of its own is tried once more on another connection.

    `failure` is set when the relay cannot be reached any more: then nothing further is pulled from the
    feed, what had been pulled is settled as UNREACHABLE, and `drained()` returns; `start()` tries again. An
    exception of the feed or the journal ends all connections and is raised by `drained()`.

    `offers` is what the relay announced last, None before it let us in. `pace` is how many connections it
    bears: `slow_down()` halves it, every 50 mails that are taken afterwards add one.
    """

    def __init__(
        self,
        relay: Relay,
        feed: Feed,
        journal: Journal,
        *,
        limit: int = 8,
        timeouts: Timeouts = RFC5321_TIMEOUTS,
    ) -> None:
        self.relay = relay
        self.feed = feed
        self.journal = journal
        self.limit = self.ceiling = self.pace = max(1, limit)
        self.accepted_count = 0
        self.timeouts = timeouts
        self.secrets = secrets_of(relay)
        self.context: ssl.SSLContext | None = None
        self.offers: Offers | None = None
        self.failure: RelayUnreachable | None = None
        self.fault: Exception | None = None
        self.is_closing = False
        self.open: set[Connection] = set()
        self.openings: set[asyncio.Task[None]] = set()
        self.waiting: deque[MailObject] = deque()
        self.returned: set[int] = set()
        self.fruitless_count = 0
        self.rest = asyncio.Event()

    async def start(self) -> None:
        """Open the first connection and begin with what the feed has. Raises RelayUnreachable."""
        await self.open_one()
        self.kick()

    async def open_one(self) -> None:
        """Open one more connection. Raises RelayUnreachable; then nothing was taken from the feed."""
        connection = await self.opened()
        self.failure, self.fruitless_count = None, 0
        self.admit(connection)

    async def opened(self) -> Connection:
        """Return a connection that has been let in. Raises RelayUnreachable."""
        if self.context is None and self.relay.security is not Security.NONE:
            try:
                self.context = self.relay.context()
            except ValueError as error:  # a client certificate that cannot be used
                raise RelayUnreachable(str(error), step="tls", is_permanent=True) from error
        return await open_connection(self.relay, self, self.timeouts, self.context)

    def admit(self, connection: Connection) -> None:
        if self.is_closing or self.fault:
            connection.abort()
            return
        self.offers = connection.offers
        self.open.add(connection)
        connection.start()

    def kick(self) -> None:
        """Look into the feed again: give mails to idle connections, and open more if that is not enough."""
        for connection in [each for each in self.open if each.is_idle]:
            connection.proceed()
        while self.may_grow() and self.has_mail_for_one_more():
            task = asyncio.get_running_loop().create_task(self.open_soon())
            self.openings.add(task)
            task.add_done_callback(self.openings.discard)

    def may_grow(self) -> bool:
        """Return whether one more connection may be opened: the pool doubles at most, so it starts slowly."""
        if self.failure or self.fault or self.is_closing or any(each.is_idle for each in self.open):
            return False
        is_room_left = len(self.open) + len(self.openings) < min(self.ceiling, self.pace)
        return is_room_left and len(self.openings) < max(1, len(self.open))

    def has_mail_for_one_more(self) -> bool:
        if len(self.waiting) <= len(self.openings):
            mail = self.pull()
            if mail is not None:
                self.waiting.append(mail)
        return len(self.waiting) > len(self.openings)

    async def open_soon(self) -> None:
        try:
            connection = await self.opened()
        except RelayUnreachable as failure:
            self.openings.discard(_this_task())
            self.opening_failed(failure)
        else:
            self.openings.discard(_this_task())
            self.admit(connection)
            self.kick()

    def opening_failed(self, failure: RelayUnreachable) -> None:
        """Live with the connections there are; without any, give up and say so."""
        self.ceiling = max(1, len(self.open) + len(self.openings))
        if not self.open and not self.openings:
            self.give_up(failure)
        else:
            self.kick()

    def give_up(self, failure: RelayUnreachable) -> None:
        self.failure = failure
        self.ceiling = self.limit
        self.settle_waiting(failure.reply)
        self.rested()

    def settle_waiting(self, reply: Reply | None) -> None:
        while self.waiting:
            mail = self.waiting.popleft()
            self.settle(Settled(mail.key, Outcome.UNREACHABLE, reply, 0.0, False, False))

    def slow_down(self) -> None:
        """Halve the connections: those that are too many leave once what they carry is answered."""
        self.pace = max(1, min(self.pace, len(self.open) + len(self.openings)) // 2)
        self.accepted_count = 0
        self.shed()

    def shed(self) -> None:
        """Let idle connections go that are too many for the pace."""
        for connection in [each for each in self.open if each.is_idle][: max(0, self.excess())]:
            connection.take_leave()

    def excess(self) -> int:
        return sum(not each.is_over for each in self.open) - self.pace

    def speed_up(self) -> None:
        """Count a mail that was taken at a reduced pace."""
        self.accepted_count += 1
        if self.accepted_count >= ACCEPTED_FOR_ONE_MORE:
            self.accepted_count = 0
            self.pace += 1
            self.kick()

    # What connections ask and tell.

    def take(self) -> MailObject | None:
        if self.pace < self.limit and self.excess() > 0:
            return None
        if self.waiting:
            return self.waiting.popleft()
        return self.pull()

    def pull(self) -> MailObject | None:
        if self.is_closing or self.failure or self.fault:
            return None
        try:
            return self.feed.next()
        except Exception as fault:  # whatever the feed throws belongs to who drains, not to a socket callback
            self.break_off(fault)
            return None

    def begun(self, key: int) -> bool:
        try:
            self.journal.begun(key)
        except Exception as fault:  # without its note no content may leave
            self.break_off(fault)
            return False
        return True

    def replied(self, key: int, reply: Reply) -> None:
        try:
            self.journal.replied(key, scrubbed(reply, self.secrets))
        except Exception as fault:  # the outcome still goes to the feed; the drain ends
            self.break_off(fault)

    def settle(self, settled: Settled) -> None:
        if self.returned:
            self.returned.discard(settled.key)
        if self.pace < self.limit and settled.outcome is Outcome.ACCEPTED:
            asyncio.get_running_loop().call_soon(self.speed_up)
        if self.secrets and settled.reply is not None:
            reply = scrubbed(settled.reply, self.secrets)
            settled = settled if reply is settled.reply else replace(settled, reply=reply)
        try:
            self.feed.settled(settled)
        except Exception as fault:  # the other mails on the way must still be settled
            self.break_off(fault)

    def rested(self) -> None:
        if self.pace < self.limit:
            self.shed()
        if self.is_done():
            self.rest.set()

    def lost(self, connection: Connection, left: MailObject | None) -> None:
        """Forget a connection; take back the mail it had not begun, the first time."""
        self.open.discard(connection)
        self.fruitless_count = 0 if connection.answered_count else self.fruitless_count + 1
        if left is not None and left.key not in self.returned and not self.is_closing:
            self.returned.add(left.key)
            self.waiting.append(left)
        elif left is not None:
            self.settle(Settled(left.key, Outcome.UNREACHABLE, None, 0.0, connection.is_tls, False))
        if self.fruitless_count >= FRUITLESS_LIMIT and not self.open:
            message = "The relay lets us in and hangs up before it takes a mail."
            self.give_up(RelayUnreachable(message, step="mail"))
        self.go_on()

    def go_on(self) -> None:
        if self.fault or self.is_closing:
            self.settle_waiting(None)
        else:
            self.kick()
        self.rested()

    def break_off(self, fault: Exception) -> None:
        """End everything because of an exception that is not the relay's."""
        self.fault = self.fault or fault
        for connection in list(self.open):
            connection.abort()
        self.rest.set()

    # The end.

    def is_done(self) -> bool:
        return not self.waiting and all(each.is_idle for each in self.open)

    async def drained(self) -> None:
        """Return when the feed had nothing more and everything taken from it is settled.

        Returns as well when `failure` is set. Raises what the feed or the journal raised; then too everything
        on the way is settled.
        """
        self.kick()
        while not self.is_done():
            self.rest.clear()
            await self.rest.wait()
            await asyncio.sleep(0)
        if self.fault:
            raise self.fault

    async def close(self) -> None:
        """Take no more mails, let those on the way finish briefly, say QUIT and close.

        What is still on the way after `timeouts.quit` seconds is cut off and settled as it stands.
        """
        self.is_closing = True
        for task in list(self.openings):
            task.cancel()
        await asyncio.gather(*self.openings, return_exceptions=True)
        self.settle_waiting(None)
        everyone = list(self.open)
        if everyone:
            await asyncio.wait([asyncio.ensure_future(self.leave(each)) for each in everyone])

    async def leave(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self.timeouts.quit):
                while not connection.is_idle and not connection.closed.done():
                    await asyncio.sleep(0.005)
                if connection.is_idle:
                    connection.quit()
                await asyncio.shield(connection.closed)
        except TimeoutError:
            connection.abort()
            await connection.closed


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
