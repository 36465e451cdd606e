"""The queue in front of BEGIN: first come, first served, among threads and among processes."""

import fcntl
import os
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


class Turnstile:
    """The same among processes that write to one file: two advisory locks on files beside it.

    Who holds the second writes; who holds the first is the next. A process that writes without pause has to
    pass the first again, so it cannot overtake the one that waits there. The busy handler of SQLite alone
    looks now and then whether the file is free, and beside a busy process it hardly ever is.
    Locks of a process that ends are gone with it.
    """

    def __init__(self, database_name: str) -> None:
        self._next = _opened(database_name, "-next")
        self._writer = _opened(database_name, "-writer")

    def acquire(self) -> None:
        """Return once no other process writes."""
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._writer, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next process write."""
        fcntl.flock(self._writer, fcntl.LOCK_UN)


class WriterLock:
    """What a writer holds from before BEGIN until after COMMIT: first our own threads, then the processes."""

    def __init__(self, database_name: str) -> None:
        self._database_name = database_name
        self._threads = FairLock()
        self._processes: Turnstile | None = None

    def acquire(self) -> None:
        """Return once it is our turn."""
        self._threads.acquire()
        try:
            if self._processes is None and not _is_in_memory(self._database_name):
                self._processes = Turnstile(self._database_name)
            if self._processes is not None:
                self._processes.acquire()
        except BaseException:
            self._threads.release()
            raise

    def release(self) -> None:
        """Give the turn to whoever waits longest."""
        try:
            if self._processes is not None:
                self._processes.release()
        finally:
            self._threads.release()


def _opened(database_name: str, ending: str) -> int:
    """Open a lock's file; like SQLite's own it belongs to the owner of the database, even if root made it."""
    file = os.open(f"{database_name}{ending}", os.O_RDONLY | os.O_CREAT, 0o600)
    if os.geteuid() == 0:
        owner = os.stat(database_name)
        os.fchown(file, owner.st_uid, owner.st_gid)
    return file


def _is_in_memory(database_name: str) -> bool:
    return ":memory:" in database_name or database_name.startswith("file:")


_locks: dict[str, WriterLock] = {}
_locks_guard = threading.Lock()
os.register_at_fork(after_in_child=_locks.clear)  # a forked child would share the parent's turn


def lock_for(database_name: str) -> WriterLock:
    """The one lock of this process for a database file."""
    with _locks_guard:
        if database_name not in _locks:
            _locks[database_name] = WriterLock(database_name)
        return _locks[database_name]
