"""A relay in a process of its own that writes down every mail it accepted, before it answers.

Run as `python -m tests.journeys.counting_target FILE SECONDS`; prints its port.
"""

from __future__ import annotations

import asyncio
import os
import sys

from postroom.smtp.listener import Listener, ListenerLimits, Session, Transaction
from postroom.wire.reply import EnhancedStatus, Reply


class CountingDoor:
    """Accepts everything; the answer to the content takes `seconds`."""

    def __init__(self, path: str, seconds: float) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.seconds = seconds

    async def recipient(self, session: Session, forward_path: str) -> Reply:
        """Yes."""
        return Reply(250, EnhancedStatus(2, 1, 5), "Ok")

    async def content(self, session: Session, transaction: Transaction) -> Reply:
        """Write it down first, so that what was answered is always on record."""
        await asyncio.sleep(self.seconds / 2)
        os.write(self.file, transaction.forward_paths[0].encode() + b"\n")
        await asyncio.sleep(self.seconds / 2)
        return Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued")


async def main() -> None:
    """Take mail until the process is ended."""
    door = CountingDoor(sys.argv[1], float(sys.argv[2]))
    listener = Listener(door, "target.localhost", ListenerLimits())
    _, port = await listener.start("127.0.0.1", 0)
    os.write(1, f"{port}\n".encode())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
