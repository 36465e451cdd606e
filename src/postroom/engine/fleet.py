"""The bell of any number of engines on one PostgreSQL: LISTEN and NOTIFY.

A wake-up says only "look now", so one that is lost costs a tick and no mail. That is why it may be sent from
a thread that nobody waits for, and why a connection that breaks needs no more than another one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from postroom.engine.bells import LONGEST_TOLD_OCTETS

log = logging.getLogger("postroom.engine")
CHANNEL = "postroom_wake"
TELL = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) payload"
GAP_SECONDS = 0.005
IDLE_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
LOOK_SECONDS = 30.0
DOUBT_SECONDS = 10.0
START_SECONDS = 5.0
_CONNECT = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "postroom wake-ups",
}
_OF_DJANGO = ("context", "cursor_factory", "prepare_threshold")


class Ringer:
    """Tells the fleet which lanes to look at, from a thread that ends when there is nothing to tell.

    What is rung while a telling is under way is told together, and every lane once.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._is_telling = False
        self._is_well = True

    def ring(self, lane: str, by: str = "") -> None:
        """Have a lane told soon, but not to the engine named `by`. Never raises, never waits."""
        payload = f"{by} {lane}"
        if len(payload.encode()) > LONGEST_TOLD_OCTETS:
            return
        with self._change, contextlib.suppress(RuntimeError):  # the interpreter ends and starts no thread
            self._waiting[payload] = None
            if self._thread is None:
                thread = threading.Thread(target=self._tell_forever, name="wake-ups", daemon=True)
                thread.start()
                self._thread = thread
            self._change.notify_all()

    def flush(self, seconds: float = 3.0) -> None:
        """Wait until all is told, or could not be; so that a short command may end."""
        with self._change:
            if self._thread is not None:
                self._change.wait_for(lambda: not (self._waiting or self._is_telling), seconds)

    def hush(self) -> None:
        """Tell what waits, then let the connection go."""
        with self._change:
            thread = self._thread
        if thread is not None:
            thread.join(IDLE_SECONDS + 5)

    # In the thread.

    def _tell_forever(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        try:
            while payloads := self._take():
                connection = self._tell(connection, payloads)
                with self._change:
                    self._is_telling = False
                    self._change.notify_all()
                time.sleep(GAP_SECONDS)
        finally:
            _part_from(connection)

    def _take(self) -> list[str]:
        """What is to be told next; empty after a while without anything: the thread then ends."""
        with self._change:
            self._change.wait_for(lambda: self._waiting, IDLE_SECONDS)
            payloads = list(self._waiting)
            self._waiting.clear()
            self._is_telling = bool(payloads)
            if not payloads:
                self._thread = None
            return payloads

    def _tell(
        self, connection: psycopg.Connection[Any] | None, payloads: Sequence[str]
    ) -> psycopg.Connection[Any] | None:
        for _ in range(2):  # the first connection may have been dropped long ago
            try:
                connection = connection or psycopg.connect(**_address(), autocommit=True)
                connection.execute(TELL, [CHANNEL, list(payloads)])
            except (psycopg.Error, OSError) as error:
                _part_from(connection)
                connection, failure = None, error
            else:
                self._is_well = True
                return connection
        if self._is_well:
            log.warning("Other machines cannot be woken (%s); they look by themselves.", _said(failure))
        self._is_well = False
        return None


def _part_from(connection: psycopg.Connection[Any] | None) -> None:
    if connection is not None:
        with contextlib.suppress(psycopg.Error, OSError):
            connection.close()


ringer = Ringer()
atexit.register(ringer.flush)


class FleetBell:
    """The bell of one engine among others; `name` tells its own wake-ups from those of the others.

    It listens on a connection of its own, made anew with growing pauses whenever it breaks, by way of
    POSTROOM_LISTEN_URL where DATABASE_URL leads through a pooler that does not keep a session.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name or uuid.uuid4().hex
        self._listening: asyncio.Task[None] | None = None
        self._doubt: asyncio.TimerHandle | None = None

    def claim(self) -> None:
        """Any number of engines may run."""

    async def listen(self, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Return once the fleet is heard, or after five seconds without; it goes on trying."""
        is_first = asyncio.Event()

        def begins() -> None:
            is_first.set()
            missed()

        self._listening = asyncio.get_running_loop().create_task(self._listen_forever(heard, begins))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_first.wait(), START_SECONDS)

    def ring(self, lane: str) -> None:
        """Tell the others."""
        ringer.ring(lane, self.name)

    async def close(self) -> None:
        """Hear nothing more; what was rung is still told."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        self._doubt_no_more()

    async def _listen_forever(self, heard: Callable[[str], None], begins: Callable[[], None]) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began_at = time.monotonic()
            try:
                await self._listen_once(heard, begins)
            except (psycopg.Error, OSError) as error:
                said = _said(error)
            if time.monotonic() - began_at > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS  # it went well for a while
            log.warning("Wake-ups of other machines are not heard (%s); again in %.1f s.", said, pause)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _listen_once(self, heard: Callable[[str], None], begins: Callable[[], None]) -> None:
        """Hear for as long as the connection lasts. Raises psycopg.Error or OSError when it ends."""
        connection = await psycopg.AsyncConnection.connect(**_address(is_listening=True), autocommit=True)
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._begin_to_doubt()
            begins()
            while True:
                async for told in connection.notifies(timeout=LOOK_SECONDS):
                    self._take(told.payload, heard)
                await connection.execute("SELECT 1")  # a connection that is gone without a word shows here
        finally:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    def _take(self, payload: str, heard: Callable[[str], None]) -> None:
        by, _, lane = payload.partition(" ")
        if lane and by != self.name:
            heard(lane)
        elif by == self.name:
            self._doubt_no_more()

    # A pooler takes LISTEN and then gives the session to somebody else: only hearing shows that it works.

    def _begin_to_doubt(self) -> None:
        self._doubt_no_more()
        self._doubt = asyncio.get_running_loop().call_later(DOUBT_SECONDS, self._say_doubt)
        self.ring("")

    def _doubt_no_more(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    def _say_doubt(self) -> None:
        log.warning(
            "Wake-ups through the database do not arrive: mail may wait up to a minute. If DATABASE_URL "
            "leads through a connection pooler, set POSTROOM_LISTEN_URL to the database itself."
        )


def _address(*, is_listening: bool = False) -> Mapping[str, Any]:
    """How psycopg reaches the database that Django uses; to listen, by the way that is set for that."""
    url = getattr(settings, "POSTROOM_LISTEN_URL", "") if is_listening else ""
    if url:
        return {**_CONNECT, "conninfo": url}
    ours = connections[DEFAULT_DB_ALIAS].get_connection_params()
    return {**_CONNECT, **{name: text for name, text in ours.items() if name not in _OF_DJANGO}}


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
