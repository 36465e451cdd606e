"""An SMTP sink that takes mail as fast as it comes, and answers after a given latency.

Usage: python bench/sink.py PORT [LATENCY_MS]

Every reply, or pipelined group of replies, leaves LATENCY_MS after its commands, so that a benchmark on
loopback can tell what a network costs. Nothing is kept. Runs on uvloop if it is installed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

HELLO = b"250-sink.localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 99999999\r\n"
OK = b"250 2.0.0 Ok\r\n"


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self, latency_seconds: float) -> None:
        self.latency_seconds = latency_seconds
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.rest = b""
        self.is_in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.answer(b"220 sink.localhost ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.rest += data
        replies = []
        while (reply := self.content() if self.is_in_content else self.command()) is not None:
            replies.append(reply)
        if replies:
            self.answer(b"".join(replies))

    def content(self) -> bytes | None:
        """Skip to the end of data; keep what could be the beginning of it."""
        end = self.rest.find(b"\r\n.\r\n")
        if end < 0:
            self.rest = self.rest[-4:]
            return None
        self.is_in_content, self.rest = False, self.rest[end + 5 :]
        return OK

    def command(self) -> bytes | None:
        line, found, rest = self.rest.partition(b"\r\n")
        if not found:
            return None
        self.rest = rest
        verb = line[:4].upper()
        if verb == b"DATA":
            self.is_in_content, self.rest = True, b"\r\n" + rest
            return b"354 go on\r\n"
        if verb == b"QUIT":
            self.loop.call_later(self.latency_seconds + 0.01, self.transport.close)
        return HELLO if verb == b"EHLO" else OK

    def answer(self, octets: bytes) -> None:
        if self.latency_seconds:
            self.loop.call_later(self.latency_seconds, self.write, octets)
        else:
            self.write(octets)

    def write(self, octets: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(octets)


async def serve(port: int, latency_seconds: float = 0.0, host: str = "127.0.0.1") -> asyncio.Server:
    """Listen and return the server; port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Sink(latency_seconds), host, port, backlog=1024)


async def main(port: int, latency_ms: float) -> None:
    server = await serve(port, latency_ms / 1000)
    print(f"Ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
