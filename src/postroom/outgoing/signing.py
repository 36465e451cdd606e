"""Copies are signed in threads ahead of the connections: a key operation takes longer than all the rest."""

from __future__ import annotations

import functools
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from postroom.outgoing.claiming import Claimed
from postroom.outgoing.copies import Copies, Signature

CHUNK = 16  # copies in one task, so that handing over costs little beside signing
READY_LIMIT = 256
Signed = tuple[Claimed, Signature | Exception]


class Signing:
    """What waits to be signed and what is being signed, urgent first; never more than a feed can use.

    All but the signing itself happens in the loop thread. `in_loop` calls a function there; `take` gets what
    was signed, or the exception that kept it from being so. `ready_count` says how much lies ready.
    """

    def __init__(self, copies: Copies, *, in_loop: Callable[..., object]) -> None:
        self.copies = copies
        self.in_loop = in_loop
        self.take: Callable[[Sequence[Signed]], None] = lambda signed: None
        self.ready_count: Callable[[], int] = int
        self.is_open = True
        self.urgent: deque[Claimed] = deque()
        self.bulk: deque[Claimed] = deque()
        self.in_hand: dict[int, Claimed] = {}
        self.task_count = 0

    @property
    def count(self) -> int:
        """How many are not signed yet."""
        return len(self.urgent) + len(self.bulk) + len(self.in_hand)

    def emails(self) -> Iterable[Claimed]:
        """All that are not signed yet."""
        return [*self.urgent, *self.bulk, *self.in_hand.values()]

    def add(self, email: Claimed) -> None:
        """Put one in its queue; `go_on` then begins."""
        (self.urgent if email.is_urgent else self.bulk).append(email)

    def go_on(self) -> None:
        """Begin as much as the threads and the room for what is ready allow."""
        while (self.urgent or self.bulk) and self._has_room():
            chunk = self._next_chunk()
            self.in_hand.update((email.email_id, email) for email in chunk)
            self.task_count += 1
            future = _threads().submit(self._sign, chunk)
            future.add_done_callback(self._hand_back)

    def close(self) -> list[Claimed]:
        """Begin nothing more and forget what comes back; return what was not signed yet."""
        self.is_open = False
        left = list(self.emails())
        self.urgent.clear()
        self.bulk.clear()
        self.in_hand.clear()
        return left

    def _has_room(self) -> bool:
        # One task more than there are threads, so that none of them waits for the loop.
        return self.task_count <= thread_count() and self.ready_count() + len(self.in_hand) < READY_LIMIT

    def _next_chunk(self) -> list[Claimed]:
        """Few are shared out to all threads, many go in whole chunks."""
        queue = self.urgent or self.bulk
        size = min(CHUNK, math.ceil(len(queue) / thread_count()))
        return [queue.popleft() for _ in range(size)]

    def _sign(self, chunk: Sequence[Claimed]) -> list[Signed]:
        """Runs in a thread."""
        return [(email, self._signature(email)) for email in chunk] if self.is_open else []

    def _signature(self, email: Claimed) -> Signature | Exception:
        try:
            return self.copies.signature(email)
        except Exception as error:  # one copy that cannot be signed must not stop the others
            return error

    def _hand_back(self, future: Future[list[Signed]]) -> None:
        """Runs in a thread. Once closed, nobody waits for it, and the loop may be gone."""
        if self.is_open:
            self.in_loop(self._came_back, future)

    def _came_back(self, future: Future[list[Signed]]) -> None:
        self.task_count -= 1
        if not self.is_open:
            return
        signed = future.result()
        for email, _ in signed:
            del self.in_hand[email.email_id]
        self.take(signed)
        self.go_on()


def thread_count() -> int:
    """How many copies are signed at the same time."""
    return os.cpu_count() or 1


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """One for all drains, made when the first copy is to be signed: the key operation releases the GIL."""
    return ThreadPoolExecutor(thread_count(), thread_name_prefix="sign")
