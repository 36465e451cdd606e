"""Octets of a relay to whole replies, whatever the sizes of the pieces they arrive in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from postroom.wire.reply import EnhancedStatus, Reply

CODES = {b"%d" % code: code for code in range(200, 600)}
ENDS = frozenset((b" ", b"\r", b""))
ORDINARY = re.compile(rb"(2\d\d) ([245]\.\d\.\d) ([A-Za-z](?:[ -~]*[!-~])?)\r?").fullmatch
LINE_OCTETS = 8192
REPLY_LINES = 1000


def parsed(lines: list[bytes]) -> Reply:
    """Return the same as `Reply.parse`, sooner for the one line that nearly every accepted mail gets."""
    match = ORDINARY(lines[0]) if len(lines) == 1 else None
    if match is None:
        return Reply.parse([line.rstrip() for line in lines])
    return Reply(CODES[match[1]], _status(match[2]), match[3].decode("ascii"))


@lru_cache(64)
def _status(octets: bytes) -> EnhancedStatus | None:
    return EnhancedStatus.parse(octets.decode("ascii"))


class ReplyProtocol(asyncio.Protocol):
    """Cuts what arrives into replies and hands each, with all its lines, to `expects`.

    Lines may end in a bare LF, because relays that do so exist. Anything that is no reply line, a line over
    8192 octets or a reply over 1000 lines goes to `garbled` once; nothing is read after that.
    """

    def __init__(self) -> None:
        self.rest = b""
        self.lines: list[bytes] = []
        self.is_over = False
        self.is_same_chunk = False
        self.expects: Callable[[int, list[bytes]], None]

    def garbled(self, lines: list[bytes]) -> None:
        """Take lines that are no reply; the connection is out of step for good."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Cut complete lines off and keep the rest; a reply ends with the line without a hyphen."""
        self.is_same_chunk = False
        if self.is_over:
            return
        if self.rest:
            data = self.rest + data
        lines = data.split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if self.is_over:
                return
            code = CODES.get(line[:3], 0)
            if not code or line[3:4] not in ENDS:
                self._continue(code, line)
            elif self.lines:
                whole, self.lines = [*self.lines, line], []
                self.expects(code, whole)
            else:
                self.expects(code, [line])
        if len(self.rest) > LINE_OCTETS and not self.is_over:
            self.garbled([self.rest[:80]])

    def _continue(self, code: int, line: bytes) -> None:
        self.lines.append(line)
        is_same_reply = self.lines[0][:3] == line[:3]
        if not code or line[3:4] != b"-" or not is_same_reply or len(self.lines) > REPLY_LINES:
            self.garbled(self.lines[-1:])


class AskingProtocol(ReplyProtocol):
    """Asks one question at a time and awaits its answer, as the opening of a session needs it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.expects = self.answered
        self.asked: asyncio.Future[tuple[int, list[bytes]]] = self.loop.create_future()
        self.closed: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first answer, the greeting, comes without a question."""
        self.transport = cast(asyncio.Transport, transport)

    async def reply(self, command: bytes = b"") -> tuple[int, list[bytes]]:
        """Write a command and return code and lines of its reply; without one, await the greeting.

        A reply that is none has the code 0. Raises ConnectionError when the relay hung
        up or spoke out of turn.
        """
        if command:
            self.check_turn()
            self.asked = self.loop.create_future()
            self.transport.write(command)
        return await self.asked

    def check_turn(self) -> None:
        """Raise ConnectionError if more was received than was asked for, as by injection before TLS."""
        if self.rest or self.lines or self.is_over:
            raise ConnectionError("the relay spoke out of turn")

    def answered(self, code: int, lines: list[bytes]) -> None:
        """Give the awaited reply to who asked; leave when nobody did."""
        if self.asked.done():
            return self.abort()
        return self.asked.set_result((code, lines))

    def garbled(self, lines: list[bytes]) -> None:
        self.answered(0, lines)
        self.abort()

    def close(self) -> None:
        """Leave once everything written has been sent."""
        self.is_over = True
        self.transport.close()

    def abort(self) -> None:
        """Leave at once; what is unsent stays so."""
        self.is_over = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        if not self.asked.done():
            self.asked.set_exception(exc or ConnectionResetError("the relay closed the connection"))
            self.asked.exception()  # perhaps nobody awaits it; then it is not worth a log line
        if not self.closed.done():
            self.closed.set_result(None)
