"""What a backup brings is held against what it says, and it knows that it is a copy."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom_server.store import loading
from postroom_server.store.databases import Sqlite
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.tables import Column, Kind, Table

INSTALLATION = Table("postroom_installation", "id", False, (Column("id", Kind.NUMBER),))
MAIL = Table(
    "postroom_mail",
    "id",
    True,
    (Column("id", Kind.NUMBER), Column("at", Kind.TIME), Column("raw", Kind.OCTETS)),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Sqlite]:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite3")) as lite:
        lite.execute(
            "CREATE TABLE postroom_installation"
            " (id INTEGER, instance TEXT, capturing_since TEXT, capture_reason TEXT)"
        )
        lite.execute("CREATE TABLE postroom_mail (id INTEGER PRIMARY KEY, at TEXT, raw BLOB)")
    with contextlib.closing(Sqlite(tmp_path / "a.sqlite3")) as database:
        yield database


def test_the_row_of_the_installation_says_that_it_is_a_copy(database: Sqlite) -> None:
    database.say("INSERT INTO postroom_installation VALUES (1, 'here', NULL, '')")
    loading.mark_as_copy(database, {INSTALLATION.name: INSTALLATION})
    assert database.number("SELECT COUNT(*) FROM postroom_installation WHERE capturing_since > '2'") == 1


@pytest.mark.parametrize("rows", ["", "INSERT INTO postroom_installation VALUES (2, 'here', NULL, '')"])
def test_without_the_row_that_the_start_reads_nothing_is_restored(database: Sqlite, rows: str) -> None:
    if rows:
        database.say(rows)
    with pytest.raises(StoreRefused, match="would send"):
        loading.mark_as_copy(database, {INSTALLATION.name: INSTALLATION})


def test_without_that_table_nothing_is_restored(database: Sqlite) -> None:
    with pytest.raises(StoreRefused, match="would send"):
        loading.mark_as_copy(database, {})


@pytest.mark.parametrize(
    "line",
    [
        b"[1]", b"{}", b"[1,2,3,4]", b'[[1],"2026-11-21T17:00:00Z",""]', b'[1,7,""]', b'[1,null,"="]',
        b"[" * 100_000, b"[" + b"9" * 5000 + b",null,null]", b"[99999999999999999999,null,null]", b"\xff\xfe",
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_refused(database: Sqlite, line: bytes) -> None:
    known = {MAIL.name: MAIL}
    good = b'[1,"2026-11-21T17:00:00.000000Z","YQ=="]\n'
    assert loading._put_rows(database, known, MAIL.name, io.BytesIO(good)) == 1
    with pytest.raises(StoreRefused, match="postroom_mail"):
        loading._put_rows(database, known, MAIL.name, io.BytesIO(line + b"\n"))
