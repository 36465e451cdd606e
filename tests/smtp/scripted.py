"""A relay that answers as told, and a feed and journal that remember."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from postroom.smtp.client import Connections, MailObject, Relay, Security, Settled, Timeouts
from postroom.wire.reply import Outcome, Reply

BRIEF = Timeouts(
    connect=2, greeting=0.15, command=0.15, tls=0.5, data=0.15, block=0.15, final_dot=0.15, quit=0.15
)
PATIENT = Timeouts(connect=5, greeting=5, command=5, tls=5, data=5, block=5, final_dot=5, quit=0.5)


class Act(Enum):
    CLOSE = auto()
    HALF_CLOSE = auto()
    RESET = auto()
    SILENCE = auto()
    STARTTLS = auto()


Answer = bytes | Act | tuple[bytes, Act]
Answers = Mapping[str, Answer | Callable[[bytes], Answer]]
DEFAULTS: Answers = {
    "GREETING": b"220 relay.example ESMTP\r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "RCPT": b"250 2.1.5 Ok\r\n",
    "DATA": b"354 go on\r\n",
    "DOT": b"250 2.0.0 Ok: queued as A1\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": (b"221 2.0.0 Bye\r\n", Act.CLOSE),
    "STARTTLS": (b"220 2.0.0 Ready\r\n", Act.STARTTLS),
}
OFFERS = ("PIPELINING", "8BITMIME", "SIZE 52428800")


@dataclass
class ScriptedRelay:
    """`answers` holds for all connections, `later[n]` overrides it from connection n (0, 1, ...) on."""

    answers: Answers = field(default_factory=dict)
    later: Mapping[int, Answers] = field(default_factory=dict)
    offers: Sequence[str] = OFFERS
    octets_a_write: int = 0
    tls: ssl.SSLContext | None = None
    lines: list[bytes] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    reads: list[bytes] = field(default_factory=list)
    port: int = 0

    def answer_to(self, verb: str, line: bytes, visit_number: int) -> Answer:
        found: Answer | Callable[[bytes], Answer] = DEFAULTS.get(verb, b"500 5.5.2 What?\r\n")
        if verb in ("EHLO", "HELO"):
            found = self.hello()
        for source in (self.answers, *(self.later[n] for n in sorted(self.later) if n <= visit_number)):
            found = source.get(verb, found)
        return found(line) if callable(found) else found

    def hello(self) -> bytes:
        lines = ["relay.example", *self.offers]
        return b"".join(
            f"250{'-' if n + 1 < len(lines) else ' '}{line}\r\n".encode() for n, line in enumerate(lines)
        )

    def verbs(self) -> list[str]:
        return [line.split(b" ")[0].split(b":")[0].decode().upper() for line in self.lines]

    @asynccontextmanager
    async def serve(self, *, implicit_tls: bool = False) -> AsyncIterator[ScriptedRelay]:
        loop = asyncio.get_running_loop()
        context = self.tls if implicit_tls else None
        server = await loop.create_server(lambda: Visit(self), "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for visit in self.visits:
                if hasattr(visit, "transport"):  # a TLS handshake that failed made no connection
                    visit.transport.abort()
            await asyncio.sleep(0.005)

    def relay(self, security: Security = Security.NONE, **settings: object) -> Relay:
        return Relay(host="127.0.0.1", port=self.port, security=security, helo="postroom.example", **settings)  # type: ignore[arg-type]


class Visit(asyncio.Protocol):
    """One connection to the scripted relay."""

    def __init__(self, script: ScriptedRelay) -> None:
        self.script = script
        self.buffer = b""
        self.is_in_content = False
        self.is_lost = self.is_mute = self.is_upgrading = False
        self.number = len(script.visits)
        self.transport: asyncio.Transport
        self.out = b""
        self.tasks: list[asyncio.Future[None]] = []
        script.visits.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.act("GREETING", b"")
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.script.reads.append(data)
        self.buffer += data
        self.advance()

    def advance(self) -> None:
        while self.buffer and not (self.is_upgrading or self.transport.is_closing()) and self.take_one():
            pass
        self.flush()

    def take_one(self) -> bool:
        if self.is_in_content:
            content, found, rest = (b"\r\n" + self.buffer).partition(b"\r\n.\r\n")
            if found:
                self.buffer, self.is_in_content = rest, False
                self.script.contents.append((content + b"\r\n")[2:])
                self.act("DOT", b"")
            return bool(found)
        line, found, rest = self.buffer.partition(b"\r\n")
        if found:
            self.buffer = rest
            self.script.lines.append(line)
            self.act(line.split(b" ")[0].decode("latin-1").upper(), line)
        return bool(found)

    def act(self, verb: str, line: bytes) -> None:
        answer = self.script.answer_to(verb, line, self.number)
        octets, deed = _split(answer)
        self.out += octets
        self.is_in_content = verb == "DATA" and octets.startswith(b"354")
        if deed is not None:
            self.flush()
            self.do(deed)

    def flush(self) -> None:
        octets, self.out = self.out, b""
        if not octets or self.is_mute or self.transport.is_closing():
            return
        if self.script.octets_a_write:
            self.tasks.append(asyncio.ensure_future(self.dribble(octets)))
        else:
            self.transport.write(octets)

    async def dribble(self, octets: bytes) -> None:
        for start in range(0, len(octets), self.script.octets_a_write):
            if not self.transport.is_closing():
                self.transport.write(octets[start : start + self.script.octets_a_write])
            await asyncio.sleep(0)

    def do(self, deed: Act) -> None:
        match deed:
            case Act.CLOSE:
                self.transport.close()
            case Act.HALF_CLOSE:
                self.is_mute = True
                self.transport.write_eof()
            case Act.RESET:
                reset = struct.pack("ii", 1, 0)
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                self.transport.abort()
            case Act.STARTTLS:
                self.transport.pause_reading()
                self.is_upgrading = True
                self.tasks.append(asyncio.ensure_future(self.start_tls()))
            case Act.SILENCE:
                self.is_mute = True

    async def start_tls(self) -> None:
        assert self.script.tls is not None
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(self.transport, self, self.script.tls, server_side=True)
        except OSError:  # the client turned away, as the test wants
            return
        assert transport is not None
        self.transport, self.is_upgrading = transport, False
        self.advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


def _split(answer: Answer) -> tuple[bytes, Act | None]:
    if isinstance(answer, tuple):
        return answer
    return (b"", answer) if isinstance(answer, Act) else (answer, None)


class Pigeonhole:
    """A feed and journal in memory."""

    def __init__(self, mails: Iterable[MailObject] = ()) -> None:
        self.mails = list(mails)
        self.outcomes: dict[int, Settled] = {}
        self.notes: list[tuple[str, int]] = []

    def next(self) -> MailObject | None:
        return self.mails.pop(0) if self.mails else None

    def settled(self, settled: Settled) -> None:
        assert settled.key not in self.outcomes, "settled twice"
        self.outcomes[settled.key] = settled

    def begun(self, key: int) -> None:
        self.notes.append(("begun", key))

    def replied(self, key: int, reply: Reply) -> None:
        self.notes.append(("replied", key))

    def kinds(self) -> list[Outcome]:
        return [self.outcomes[key].outcome for key in sorted(self.outcomes)]


def mail(
    key: int = 1, to: bytes = b"ben@example.org", content: bytes = b"Subject: x\r\n\r\nHello\r\n"
) -> MailObject:
    return MailObject(key, b"ana@demo.example", to, content)


def mails(count: int) -> list[MailObject]:
    return [mail(n, b"p%d@example.org" % n) for n in range(1, count + 1)]


async def deliver(
    script: ScriptedRelay,
    letters: Iterable[MailObject],
    *,
    limit: int = 1,
    timeouts: Timeouts = PATIENT,
    relay: Relay | None = None,
) -> Pigeonhole:
    """Serve the script, send the mails through it and return what became of them."""
    hole = Pigeonhole(letters)
    async with script.serve():
        connections = Connections(relay or script.relay(), hole, hole, limit=limit, timeouts=timeouts)
        await connections.start()
        await connections.drained()
        await connections.close()
    return hole
