"""Django's SQLite backend, with the writer lock taken before every BEGIN and every lone write."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.sqlite3 import base

from postroom.sqlite.writer_lock import WriterLock, lock_for

_READS = ("SELECT", "PRAGMA", "EXPLAIN", "SAVEPOINT", "RELEASE", "ROLLBACK")


class DatabaseWrapper(base.DatabaseWrapper):
    """Used as `ENGINE = "postroom.sqlite"`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._writer_lock: WriterLock | None = None

    def _take_writer_lock(self) -> None:
        if self._writer_lock is None:
            lock = lock_for(str(self.settings_dict["NAME"]))
            lock.acquire()
            self._writer_lock = lock

    def _give_writer_lock(self) -> None:
        lock, self._writer_lock = self._writer_lock, None
        if lock is not None:
            lock.release()

    def _start_transaction_under_autocommit(self) -> None:
        self._take_writer_lock()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # absent from the stubs
        except BaseException:
            self._give_writer_lock()
            raise

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]  # absent from the stubs
        finally:
            if self.connection is None or not self.connection.in_transaction:
                self._give_writer_lock()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]  # absent from the stubs
        finally:
            self._give_writer_lock()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]  # absent from the stubs
        finally:
            self._give_writer_lock()

    def create_cursor(self, name: str | None = None) -> Any:
        """A cursor whose lone writes (outside a transaction) queue up like the transactions do."""
        cursor = self.connection.cursor(factory=QueuedCursor)
        cursor.wrapper = self
        return cursor


class QueuedCursor(base.SQLiteCursorWrapper):
    """Takes the writer lock around a write that is its own transaction."""

    wrapper: DatabaseWrapper

    def execute(self, query: str, params: Any = None) -> Any:
        """As Django's, after waiting for our turn if this statement commits by itself."""
        with self._turn(query):
            return super().execute(query, params)

    def executemany(self, query: str, param_list: Any) -> Any:
        """As Django's, after waiting for our turn if this statement commits by itself."""
        with self._turn(query):
            return super().executemany(query, param_list)

    @contextmanager
    def _turn(self, query: str) -> Iterator[None]:
        if self.wrapper._writer_lock is not None or query.lstrip()[:9].upper().startswith(_READS):
            yield
            return
        self.wrapper._take_writer_lock()
        try:
            yield
        finally:
            self.wrapper._give_writer_lock()
