"""Our own SMTP listener (RFC 5321): the front door, and the ground the built-in target stands on."""

from __future__ import annotations

import asyncio
from collections import Counter

from postroom.smtp import canned
from postroom.smtp.door import (
    Answer,
    DataDoor,
    Door,
    HangUp,
    ListenerLimits,
    SenderDoor,
    Session,
    Transaction,
)
from postroom.smtp.visitor import Visitor

__all__ = [
    "Answer",
    "DataDoor",
    "Door",
    "HangUp",
    "Listener",
    "ListenerLimits",
    "SenderDoor",
    "Session",
    "Transaction",
]


class Listener:
    """Lets strangers in within `limits` and asks `door` about their recipients and mails.

    Announces PIPELINING, SIZE, 8BITMIME, ENHANCEDSTATUSCODES and SMTPUTF8; offers neither STARTTLS nor AUTH.
    Only CRLF.CRLF ends a mail, and a mail with a bare CR or LF is refused with 550 5.6.11.
    """

    def __init__(self, door: Door, hostname: str, limits: ListenerLimits | None = None) -> None:
        self.door = door
        self.limits = limits or ListenerLimits()
        self.greeting = b"220 %b ESMTP Postroom\r\n" % hostname.encode("ascii")
        self.hello = _hello(hostname, self.limits)
        self.held_octets = 0
        self.is_stopping = False
        self.visitors: set[Visitor] = set()
        self.thinking: set[asyncio.Task[None]] = set()
        self.peers: Counter[str] = Counter()
        self.server: asyncio.Server | None = None
        self.sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen and return the bound host and port; port 0 takes a free one. Raises OSError if taken."""
        loop = asyncio.get_running_loop()
        self.is_stopping = False
        self.server = await loop.create_server(lambda: Visitor(self), host, port, backlog=512)
        self.sweep()
        bound = self.server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    def sweep(self) -> None:
        """Look at every visitor's clock, with one timer for all."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for visitor in list(self.visitors):
            visitor.check(now)
        self.sweeper = loop.call_later(self.limits.sweep_seconds, self.sweep)

    def admit(self, visitor: Visitor) -> bytes | None:
        """Count a visitor in; return what to say instead if there are too many."""
        peer = visitor.session.peer
        is_full = sum(self.peers.values()) >= self.limits.connections
        refusal = canned.CLOSING if self.is_stopping else canned.TOO_MANY_CONNECTIONS
        self.visitors.add(visitor)
        if is_full or self.is_stopping or self.peers[peer] >= self.limits.connections_per_peer:
            return refusal
        visitor.is_counted = True
        self.peers[peer] += 1
        return None

    def forget(self, visitor: Visitor) -> None:
        """Count a visitor out. What its door is still deciding goes on until `stop()`."""
        self.visitors.discard(visitor)
        if visitor.task is not None and not visitor.task.done():
            self.thinking.add(visitor.task)
            visitor.task.add_done_callback(self.thinking.discard)
        peer = visitor.session.peer
        if visitor.is_counted:
            self.peers[peer] -= 1
            if not self.peers[peer]:
                del self.peers[peer]

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Let no one in, let mails that are under way finish within the grace, then cut.

        A mail that was answered 250 is the door's; one that was cut got no answer, so its client keeps it.
        """
        self.is_stopping = True
        if self.server is not None:
            self.server.close()
        if self.sweeper is not None:
            self.sweeper.cancel()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_seconds
        while (self.visitors or self.thinking) and loop.time() < deadline:
            self.dismiss_idle()
            await asyncio.sleep(0.01)
        await self.cut()

    def dismiss_idle(self) -> None:
        for visitor in list(self.visitors):
            if not visitor.is_busy and visitor.content is None:
                visitor.leave(canned.CLOSING, lingers=False)

    async def cut(self) -> None:
        tasks = [*self.thinking, *(each.task for each in self.visitors if each.task is not None)]
        for visitor in list(self.visitors):
            visitor.is_over = True
            visitor.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def _hello(hostname: str, limits: ListenerLimits) -> bytes:
    return (
        f"250-{hostname}\r\n250-PIPELINING\r\n250-SIZE {limits.content_octets}\r\n250-8BITMIME\r\n"
        "250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
    ).encode("ascii")
