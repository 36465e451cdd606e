"""What was moved takes no more mail where it was, and says where it went."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.utils import OperationalError

from postroom.commands.failures import sentence_for
from postroom_server import config, folder
from postroom_server.store import moving
from postroom_server.store.databases import Sqlite

WRITES = [
    "INSERT INTO postroom_workspace (id, slug) VALUES (2, 'casa')",
    "UPDATE postroom_workspace SET slug = 'casa'",
    "DELETE FROM postroom_workspace",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A SQLite file with one of our tables, as the data folder names it."""
    path = tmp_path / "postroom.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as lite:
        lite.execute("PRAGMA journal_mode=WAL")
        lite.execute("CREATE TABLE postroom_workspace (id INTEGER PRIMARY KEY, slug TEXT)")
        lite.execute("CREATE TABLE hosts_own (id INTEGER PRIMARY KEY)")
        lite.execute("INSERT INTO postroom_workspace (id, slug) VALUES (1, 'demo')")
        lite.commit()
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who had the file open before it was moved."""
    lite = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    lite.execute("SELECT * FROM postroom_workspace").fetchall()
    with contextlib.closing(lite):
        yield lite


def move(path: Path) -> Path:
    with contextlib.closing(Sqlite(path)) as source:
        source.keep_others_from_writing()
        return moving.mark_moved(source, path, 'postgresql://db.example/"post"room')


def test_who_waited_to_write_while_it_was_moved_is_told_where_it_went(
    path: Path, writer: sqlite3.Connection
) -> None:
    refused: list[str] = []

    def post() -> None:
        try:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute(WRITES[0])
        except sqlite3.OperationalError as error:
            refused.append(str(error))

    with contextlib.closing(Sqlite(path)) as source:
        source.keep_others_from_writing()
        waiting = threading.Thread(target=post)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        moving.mark_moved(source, path, "postgresql://db.example/postroom")
    waiting.join()
    refusal = sentence_for(OperationalError(*refused))
    assert refusal is not None
    assert refusal.sentence.startswith("This installation was moved to postgresql://db.example/postroom at ")
    assert refusal.sentence.endswith("Set DATABASE_URL to it; nothing was written here.")


@pytest.mark.parametrize("write", WRITES)
def test_no_row_of_what_was_moved_changes_any_more(
    path: Path, writer: sqlite3.Connection, write: str
) -> None:
    move(path)
    with pytest.raises(sqlite3.OperationalError, match=r"was moved to postgresql://db\.example/postroom"):
        writer.execute(write)
    assert writer.execute("SELECT * FROM postroom_workspace").fetchall() == [(1, "demo")]
    writer.execute("INSERT INTO hosts_own VALUES (1)")


def test_without_its_mark_it_takes_writes_again_from_the_next_command_on(
    path: Path, writer: sqlite3.Connection
) -> None:
    mark = move(path)
    ours = config.load({"POSTROOM_DATA": str(path.parent)})
    with pytest.raises(config.FolderUnusable, match="was moved to"):
        folder.prepare(ours)
    with pytest.raises(sqlite3.OperationalError):
        writer.execute(WRITES[0])
    mark.unlink()
    folder.prepare(ours)
    writer.execute("SELECT * FROM postroom_workspace")  # it knows of the triggers until it looks again
    for write in WRITES:
        writer.execute(write)


def test_what_could_not_be_shut_has_no_mark(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Sqlite) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Sqlite, "commit", full)
    with pytest.raises(sqlite3.OperationalError):
        move(path)
    assert not Path(f"{path}{folder.MOVED}").exists()
