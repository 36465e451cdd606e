"""The engine inside a process: asyncio, and nothing of its own to persist. Its bell joins it to others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from django.db import InterfaceError, InternalError, OperationalError

from postroom.engine import waking
from postroom.engine.bells import Bell, FolderBell
from postroom.engine.lanes import LaneKind

log = logging.getLogger("postroom.engine")
LONGEST_DELAY_SECONDS = 300.0
SHORTEST_DELAY_SECONDS = 0.01


def _is_defect(error: Exception) -> bool:
    """Is it anything else than a database that does not answer?"""
    return not (isinstance(error, (OperationalError, InterfaceError)) or _has_cut_us_off(error))


def _say(error: Exception, what: str) -> None:
    """A database that does not answer is one line; a defect shows where."""
    if not _is_defect(error):
        log.warning("%s: the database does not answer (%s)", what, " ".join(str(error).split()))
    else:
        log.error(what, exc_info=error)


def _has_cut_us_off(error: Exception) -> bool:
    """PostgreSQL ended the session because we froze in a transaction; it calls that an internal error."""
    return isinstance(error, InternalError) and getattr(error.__cause__, "sqlstate", "") == "25P03"


class _Lane:
    """One lane that was woken at least once: awake or not, running or not, and when it comes back."""

    def __init__(self, name: str, kind: LaneKind) -> None:
        self.name = name
        self.kind = kind
        self.woken = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.failure_count = 0
        self.is_resting = False

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()

    def forget_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Engine:
    """Runs every woken lane once at a time; wake-ups of a running lane become one more drain.

    `bell` brings wake-ups of other processes and takes ours to them; without one the engine is alone on the
    data folder `folder`. An exception in one lane is logged and delays that lane alone
    (`first_delay_seconds`, doubled each time, five minutes at most). After a defect wake-ups do not shorten
    that delay; the tick does, if the lane has something due, and else forgets it.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Sequence[LaneKind],
        *,
        bell: Bell | None = None,
        tick_seconds: float = 60.0,
        first_delay_seconds: float = 1.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.bell = bell or FolderBell(folder)
        self.kinds = tuple(kinds)
        self.tick_seconds = tick_seconds
        self.first_delay_seconds = first_delay_seconds
        self.clock = clock
        self.is_stopping = False
        self._lanes: dict[str, _Lane] = {}
        self._has_heard_unknown = False
        self._ticker: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def claim(self) -> None:
        """Make sure that an engine may run here; twice is harmless. Raises EngineTaken."""
        self.bell.claim()

    async def start(self) -> None:
        """Listen for wake-ups, wake what is due. Raises EngineTaken."""
        self.claim()
        self._loop = asyncio.get_running_loop()
        await self.bell.listen(self._wake, self._look_now.set)
        waking.become_running(self)
        self._ticker = asyncio.create_task(self._tick_forever())

    async def stop(self, grace_seconds: float = 10.0) -> None:
        """Start nothing more, let running drains settle for `grace_seconds`, then cancel what still runs."""
        self.is_stopping = True
        await self._end_ticking()
        tasks = [lane.task for lane in self._lanes.values() if lane.is_running and lane.task]
        for lane in self._lanes.values():
            lane.forget_timer()
            lane.woken.set()  # ends every next_wake()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        waking.become_running(None)
        await self.bell.close()

    def wake(self, name: str) -> None:
        """Let a lane be drained soon, here and elsewhere; from any thread. Unknown names are ignored."""
        self._soon(self._wake, name)
        self.bell.ring(name)

    def look(self) -> None:
        """Ask now what is due, not only at the next tick; safe from every thread."""
        self._soon(self._look_now.set)

    def _soon(self, call: Callable[..., object], *arguments: str) -> None:
        """Before the start there is no loop, at the end no more: the next first tick finds what is due."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *arguments)

    async def next_wake(self, name: str, seconds: float) -> bool:
        """Wait inside a drain for the lane's next wake-up and use it up; False after `seconds`."""
        lane = self._lanes.get(name)
        if lane is None or self.is_stopping:
            return False
        try:
            await asyncio.wait_for(lane.woken.wait(), seconds)
        except TimeoutError:
            return False
        if not self.is_stopping:
            lane.woken.clear()
        return not self.is_stopping

    # Wake-ups and drains, all in the loop's thread.

    def _wake(self, name: str) -> None:
        lane = self._lanes.get(name) or self._new_lane(name)
        if lane is None or self.is_stopping or lane.is_resting:
            return
        lane.woken.set()
        if not lane.is_running:
            lane.forget_timer()
            lane.task = asyncio.create_task(self._run(lane), name=name)

    def _new_lane(self, name: str) -> _Lane | None:
        for kind in self.kinds:
            if kind.has(name):
                return self._lanes.setdefault(name, _Lane(name, kind))
        if not self._has_heard_unknown:
            self._has_heard_unknown = True
            log.warning(
                "Ignored a wake-up of %r, which is no lane; others like it are ignored silently", name
            )
        return None

    async def _run(self, lane: _Lane) -> None:
        while lane.woken.is_set() and not self.is_stopping:
            lane.woken.clear()
            lane.is_resting = False
            delay = await self._drain(lane)
            lane.forget_timer()
            if delay is not None and not self.is_stopping:
                delay = max(SHORTEST_DELAY_SECONDS, delay)
                lane.timer = asyncio.get_running_loop().call_later(delay, self._rested, lane.name)
        if lane.timer is None and not self.is_stopping:
            del self._lanes[lane.name]  # nothing waits: a wake-up makes it anew

    def _rested(self, name: str) -> None:
        if name in self._lanes:
            self._lanes[name].is_resting = False
        self._wake(name)

    async def _drain(self, lane: _Lane) -> float | None:
        """Drain once; return after how many seconds the lane wants to come back."""
        try:
            next_at: datetime | None = await lane.kind.drain(lane.name)
        except Exception as error:  # whatever a lane does wrong, the others go on
            delay: float = min(LONGEST_DELAY_SECONDS, self.first_delay_seconds * 2**lane.failure_count)
            lane.failure_count = min(lane.failure_count + 1, 30)
            lane.is_resting = _is_defect(error)
            if lane.is_resting:
                lane.woken.clear()
            _say(error, f"Lane {lane.name} failed and comes back in {delay:g} s")
            return delay
        lane.failure_count = 0
        return (next_at - self.clock()).total_seconds() if next_at else None

    # The safety net.

    async def _tick_forever(self) -> None:
        while True:
            self._look_now.clear()
            for kind in self.kinds:
                await self._tick(kind)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), self.tick_seconds)

    async def _tick(self, kind: LaneKind) -> None:
        resting = [lane for lane in self._lanes.values() if lane.kind is kind and lane.is_resting]
        try:
            names = await asyncio.to_thread(kind.due)
        except Exception as error:  # the next tick asks again; the other kinds are asked now
            _say(error, f"Could not ask which lanes {kind.prefix}… are due")
            return
        for name in names:
            self._rested(name)
        for lane in resting:
            if lane.is_resting and not lane.is_running:
                lane.forget_timer()
                self._lanes.pop(lane.name, None)

    async def _end_ticking(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
