"""A relay in a process of its own that writes down every mail it accepted, before it answers.

Run as `python -m tests.journeys.recording_target FILE SECONDS [PORT]`; prints its port. Every line of FILE is
a JSON object: who got it, its Message-ID and which copy it is. While FILE.mood exists, its content (such as
`451 4.7.1 Slow down`) answers instead, and nothing is taken.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from postroom.smtp.listener import Listener, ListenerLimits, Session, Transaction
from postroom.wire.reply import EnhancedStatus, Reply

MESSAGE_ID = re.compile(rb"^Message-ID: *(\S+)", re.I | re.M)


class RecordingDoor:
    """Accepts everything unless it is in another mood; the answer to the content takes `seconds`."""

    def __init__(self, path: str, seconds: float) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.mood = Path(f"{path}.mood")
        self.seconds = seconds

    async def recipient(self, session: Session, forward_path: str) -> Reply:
        """Yes, unless in another mood."""
        return self._in_mood() or Reply(250, EnhancedStatus(2, 1, 5), "Ok")

    async def content(self, session: Session, transaction: Transaction) -> Reply:
        """Write it down first, so that what was answered is always on record."""
        await asyncio.sleep(self.seconds / 2)
        if reply := self._in_mood():
            return reply
        found = MESSAGE_ID.search(transaction.content)
        line = {"to": transaction.forward_paths[0], "message_id": found[1].decode() if found else ""}
        os.write(self.file, json.dumps(line).encode() + b"\n")
        await asyncio.sleep(self.seconds / 2)
        return Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued")

    def _in_mood(self) -> Reply | None:
        try:
            return Reply.parse([self.mood.read_bytes()])
        except FileNotFoundError:
            return None


async def main() -> None:
    """Take mail until the process is ended."""
    door = RecordingDoor(sys.argv[1], float(sys.argv[2]))
    listener = Listener(door, "target.localhost", ListenerLimits())
    _, port = await listener.start("127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    os.write(1, f"{port}\n".encode())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
