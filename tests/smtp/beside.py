"""A scripted relay in a thread of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.smtp.scripted import ScriptedRelay


@contextmanager
def beside(script: ScriptedRelay, *, implicit_tls: bool = False) -> Iterator[ScriptedRelay]:
    """Serve the script on a free port of 127.0.0.1 until the block ends."""
    is_ready, loop, ending = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serving() -> None:
        async with script.serve(implicit_tls=implicit_tls):
            is_ready.set()
            await ending.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serving()))
    thread.start()
    assert is_ready.wait(5)
    try:
        yield script
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(5)
        loop.close()
