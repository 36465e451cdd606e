"""A door that remembers, and a client that says anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from postroom.smtp.commands import reply
from postroom.smtp.listener import Answer, HangUp, Listener, ListenerLimits, Session, Transaction
from postroom.wire.reply import Reply

OK = reply(250, "2.0.0", "Taken")


@dataclass
class OpenDoor:
    """Takes everybody except nobody@, and asks for time if told so."""

    is_slow: bool = False
    mails: list[Transaction] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def recipient(self, session: Session, forward_path: str) -> Answer:
        self.asked.append(forward_path)
        if forward_path.startswith("nobody@"):
            return reply(550, "5.1.1", "Nobody by that name")
        if forward_path.startswith("busy@"):
            return reply(421, "4.3.2", "Busy")
        if forward_path.startswith("broken@"):
            raise LookupError("no database")
        if forward_path.startswith("hangup@"):
            raise HangUp
        return self.slowly(OK) if self.is_slow else OK

    def content(self, session: Session, transaction: Transaction) -> Answer:
        self.mails.append(transaction)
        self.sessions.append(session)
        return self.slowly(OK) if self.is_slow else OK

    async def slowly(self, answer: Reply) -> Reply:
        await self.gate.wait()
        return answer


class Guest:
    """A client on a stream: says octets, hears replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def hear(self) -> bytes:
        """The next whole reply; empty if the listener hung up."""
        heard = b""
        while line := await self.reader.readline():
            heard += line
            if line[3:4] != b"-":
                break
        return heard

    async def say(self, octets: bytes) -> bytes:
        self.write(octets)
        return await self.hear()

    async def all(self) -> bytes:
        """Everything until the listener hangs up."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def begin(self, recipients: int = 1) -> None:
        """Greet and open a mail transaction."""
        assert (await self.hear()).startswith(b"220 ")
        assert (await self.say(b"EHLO guest.example\r\n")).startswith(b"250-")
        assert (await self.say(b"MAIL FROM:<carla@example.org>\r\n")).startswith(b"250 ")
        for number in range(recipients):
            assert (await self.say(b"RCPT TO:<p%d@demo.example>\r\n" % number)).startswith(b"250 ")

    async def send(self, content: bytes) -> bytes:
        """Open a transaction, send this content and return the answer to the final dot."""
        await self.begin()
        assert (await self.say(b"DATA\r\n")).startswith(b"354 ")
        return await self.say(content + b"\r\n.\r\n")


@asynccontextmanager
async def listening(
    door: object, limits: ListenerLimits | None = None
) -> AsyncIterator[tuple[Listener, str, int]]:
    listener = Listener(door, "mx.demo.example", limits)  # type: ignore[arg-type]
    host, port = await listener.start("127.0.0.1", 0)
    try:
        yield listener, host, port
    finally:
        await listener.stop(0.05)


@asynccontextmanager
async def visiting(door: object, limits: ListenerLimits | None = None) -> AsyncIterator[Guest]:
    async with listening(door, limits) as (_, host, port), calling(host, port) as guest:
        yield guest


@asynccontextmanager
async def calling(host: str, port: int) -> AsyncIterator[Guest]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Guest(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
