"""The queue in front of BEGIN: first come, first served."""

import threading
from collections import deque


class FairLock:
    """A mutual exclusion lock that is handed over in the order in which it was asked for.

    `threading.Lock` wakes an arbitrary waiter and lets a running thread overtake all of them; a busy
    writer then starves the rest. Here release() hands the lock to the oldest waiter directly.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False

    def acquire(self) -> None:
        """Return once the lock is ours."""
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()

    def release(self) -> None:
        """Hand the lock to whoever has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False


_locks: dict[str, FairLock] = {}
_locks_guard = threading.Lock()


def lock_for(database_name: str) -> FairLock:
    """The one lock of this process for a database file."""
    with _locks_guard:
        return _locks.setdefault(database_name, FairLock())
