"""The queue in front of BEGIN."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction
from django.test.utils import CaptureQueriesContext

from postroom.sqlite.base import DatabaseWrapper
from postroom.sqlite.writer_lock import FairLock, WriterLock, lock_for

#: pytest-django lets no connection open without it, not even one of our own.
pytestmark = pytest.mark.django_db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "writers.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE line (number INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    return file


@pytest.fixture
def database(path: Path) -> Iterator[DatabaseWrapper]:
    wrapper = connected(path)
    yield wrapper
    wrapper.close()


def connected(path: Path) -> DatabaseWrapper:
    from django.db import connections

    settings = connections.databases["default"] | {
        "ENGINE": "postroom.sqlite",
        "NAME": str(path),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 0.1},
    }
    return DatabaseWrapper(settings, alias=f"writers-{path}-{threading.get_ident()}")


def is_free(path: Path) -> bool:
    return not lock_for(str(path))._threads._is_held


def test_the_lock_is_handed_over_in_the_order_in_which_it_was_asked_for() -> None:
    lock, order, waiting = FairLock(), [], []

    def take_a_turn(number: int) -> None:
        lock.acquire()
        order.append(number)
        lock.release()

    lock.acquire()
    for number in range(20):
        thread = threading.Thread(target=take_a_turn, args=(number,))
        thread.start()
        waiting.append(thread)
        while len(lock._waiting) <= number:  # the next one asks only when this one stands in the queue
            pass
    lock.release()
    for thread in waiting:
        thread.join(5)
    assert order == list(range(20))


def test_one_process_has_one_lock_for_a_file(path: Path) -> None:
    assert lock_for(str(path)) is lock_for(str(path))
    assert lock_for(str(path)) is not lock_for("another")


def test_a_transaction_holds_the_lock_until_it_is_committed(database: DatabaseWrapper, path: Path) -> None:
    database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    assert not is_free(path)
    database.cursor().execute("INSERT INTO line (text) VALUES ('a')")
    database.commit()
    database.set_autocommit(True)
    assert is_free(path)


def test_a_rolled_back_transaction_gives_the_lock_back(database: DatabaseWrapper, path: Path) -> None:
    database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    database.rollback()
    database.set_autocommit(True)
    assert is_free(path)


def test_a_connection_closed_in_mid_transaction_gives_the_lock_back(path: Path) -> None:
    database = connected(path)
    database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    database.close()
    assert is_free(path)


def test_a_begin_that_fails_gives_the_lock_back(database: DatabaseWrapper, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError):
        database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    assert is_free(path)
    other.close()


def test_a_lone_write_takes_and_gives_the_lock(database: DatabaseWrapper, path: Path) -> None:
    database.cursor().execute("INSERT INTO line (text) VALUES (%s)", ["a"])
    assert is_free(path)
    with pytest.raises(DatabaseError):
        database.cursor().execute("INSERT INTO line (text) VALUES (%s)", ["a"])
    assert is_free(path)


def test_reading_waits_for_nobody(database: DatabaseWrapper, path: Path) -> None:
    lock_for(str(path)).acquire()
    try:
        with CaptureQueriesContext(database):
            assert database.cursor().execute("SELECT count(*) FROM line").fetchone() == (0,)
    finally:
        lock_for(str(path)).release()


def test_eight_threads_writing_at_once_meet_no_locked_database(path: Path) -> None:
    errors: list[BaseException] = []

    def write(thread: int) -> None:
        database = connected(path)
        try:
            for number in range(40):
                database.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
                database.cursor().execute("INSERT INTO line (text) VALUES (%s)", [f"{thread}-{number}"])
                database.commit()
                database.set_autocommit(True)
        except BaseException as error:  # carried to the test's own thread
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM line").fetchone() == (320,)


def test_a_busy_process_does_not_overtake_another_that_waits(path: Path) -> None:
    script = (
        "import sys, time; from postroom.sqlite.writer_lock import WriterLock\n"
        "lock = WriterLock(sys.argv[1]); lock.acquire(); print('ours', flush=True)\n"
        "until = time.monotonic() + 20\n"
        "while time.monotonic() < until:\n    time.sleep(0.02); lock.release(); lock.acquire()"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "ours\n"
        lock, began = WriterLock(str(path)), time.monotonic()
        for _ in range(5):
            lock.acquire()
            lock.release()
        assert time.monotonic() - began < 5
        busy.kill()


def test_the_turn_of_a_killed_process_is_given_on(path: Path) -> None:
    script = (
        "import os, sys; from postroom.sqlite.writer_lock import WriterLock;"
        "WriterLock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, path], check=False)
    lock = WriterLock(str(path))
    lock.acquire()
    lock.release()


def test_a_database_in_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lock = WriterLock(":memory:")
    lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_nested_atomic_blocks_need_the_lock_once() -> None:
    with transaction.atomic(), transaction.atomic():
        pass
