"""Puts the rows and files of a backup where there are none, and makes sure that they know they are a copy."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from postroom.workspaces.installation import COPY
from postroom_server.store import archive, rows, tables
from postroom_server.store.archive import STORAGE
from postroom_server.store.databases import Database
from postroom_server.store.manifest import END, Head, Manifest
from postroom_server.store.progress import Progress
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.tables import Table, by_name

#: What Django writes itself into tables that are otherwise empty.
_MADE_BY_DJANGO = ("auth_permission", "django_content_type")
_WITHOUT_WORTH = (*_MADE_BY_DJANGO, "django_migrations")
RESTORED = "restored"
#: In a database that a restore is filling, with the folder that it fills as well.
MARK = "postroom_restoring"
_UNREADABLE = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)


def refuse_unless_empty(database: Database) -> None:
    """Raise StoreRefused unless a database holds nothing, or tables of ours that have no row."""
    names = [name for name in database.table_names() if name not in _WITHOUT_WORTH]
    if MARK in names:
        folder = next(iter(list(database.ask(f"SELECT folder FROM {MARK}"))), [""])[0]
        raise StoreRefused(
            f"A restore of {folder} into this database has not come to its end. If it does not run any more, "
            f"run it once more with --data {folder}; it begins anew. Or name another database."
        )
    ours = {*tables.by_name(tables.tables()), *tables.fleeting_names()}
    full = [name for name in names if name not in ours or database.number(f'SELECT COUNT(*) FROM "{name}"')]
    if full:
        raise StoreRefused(
            f"The database is not empty (look at its table {full[0]}), and nothing is overwritten. "
            "Name an empty one."
        )


def is_begun_for(database: Database, folder: Path) -> bool:
    """Did a restore into this folder begin to fill the database, and come to no end?"""
    if MARK not in database.table_names():
        return False
    return [row[0] for row in database.ask(f"SELECT folder FROM {MARK}")] == [str(folder)]


@contextlib.contextmanager
def begun(open_it: Callable[[], Database], folder: Path) -> Iterator[None]:
    """Fill a database that is empty, or was half filled for this folder: all of it at the end, or nothing.

    Until the end it has a mark, in the same transaction in which what is of no worth is removed. Raises
    StoreRefused if there is something else.
    """
    with contextlib.closing(open_it()) as database:
        if not is_begun_for(database, folder):
            refuse_unless_empty(database)
        _drop_all(database)
        database.say(f"CREATE TABLE {MARK} (folder TEXT NOT NULL)")
        database.say(f"INSERT INTO {MARK} (folder) VALUES (?)", [str(folder)])
        database.commit()
    try:
        yield
    except BaseException:  # refused, interrupted, or a defect: nothing half done stays
        with contextlib.closing(open_it()) as database:
            _drop_all(database)
            database.commit()
        raise
    with contextlib.closing(open_it()) as database:
        database.say(f"DROP TABLE {MARK}")
        database.commit()


def drop_empty_tables(database: Database) -> None:
    """Remove what a killed run may have half made; `refuse_unless_empty` said that no row is in it."""
    _drop_all(database)
    database.commit()


def _drop_all(database: Database) -> None:
    for name in database.table_names():
        database.say(f'DROP TABLE "{name}" CASCADE')


def load(
    database: Database, path: Path, place: Path, head: Head, manifest: Manifest, *, progress: Progress
) -> None:
    """Write rows and files of a verified backup, hold them against its manifest, and mark them as a copy.

    The caller commits. Raises StoreRefused if what was written is not what the backup says.
    """
    clear_made_by_django(database)
    _refuse_unknown(database, head)
    progress.begin("Rows", manifest.row_count)
    known = by_name(head.tables)
    with archive.members(path) as found:
        for name, file in found:
            if name == END:
                break
            if name.startswith(STORAGE):
                _put_file(place / name, file)
            elif of_table := archive.table_of(name):
                progress.advance(_put_rows(database, known, of_table, file))
    progress.begin("Reading it again", manifest.row_count)
    for table in head.tables:
        content = manifest.contents[table.name]
        if table.is_numbered:
            database.number_from(table, content.last_number)
        refuse_if_different(database, table, content.count, content.digest)
        progress.advance(content.count)
    refuse_broken(database)
    mark_as_copy(database, known)


def _refuse_unknown(database: Database, head: Head) -> None:
    there = set(database.table_names())
    if unknown := [table.name for table in head.tables if table.name not in there]:
        raise StoreRefused(f"Its version had no table {unknown[0]}: take another backup.")


def clear_made_by_django(database: Database) -> None:
    """Make room for the same rows with the numbers that others know them by."""
    for name in _MADE_BY_DJANGO:
        database.say(f'DELETE FROM "{name}"')


def _put_rows(database: Database, known: dict[str, Table], name: str, file: IO[bytes]) -> int:
    if name not in known:
        raise StoreRefused(f"The backup has rows of {name} and does not say what that is. Take another one.")
    digest = rows.Digest()
    try:
        database.write(known[name], _rows_in(file, len(known[name].columns), digest))
    except _UNREADABLE as error:
        raise StoreRefused(f"The rows of {name} cannot be read ({error}): take another backup.") from error
    return digest.count


def _rows_in(file: IO[bytes], width: int, digest: rows.Digest) -> Iterator[rows.Row]:
    for line in file:
        for row in rows.of_lines(line):
            if len(row) != width:
                raise ValueError(f"a row has {len(row)} values instead of {width}")
            digest.add(b"", 1)
            yield row


def _put_file(path: Path, file: IO[bytes]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("wb") as new:
        shutil.copyfileobj(file, new)


def refuse_if_different(database: Database, table: Table, count: int, digest: str) -> None:
    """Read a table again. Raises StoreRefused unless it has these rows."""
    found = rows.digest_of(database.rows(table))
    if (found.count, found.text) != (count, digest):
        raise StoreRefused(
            f"{table.name} came out with {found.count} rows instead of {count}, or with others. "
            "Nothing was kept; that is a defect of Postroom, please report it."
        )


def refuse_broken(database: Database) -> None:
    """Raise StoreRefused if a row names another that is not there."""
    if broken := database.broken_references():
        raise StoreRefused(f"What was written does not hold together: {broken[0]}. Nothing was kept.")


def mark_as_copy(database: Database, known: dict[str, Table]) -> None:
    """Let the next start begin in capture mode, also where POSTROOM_INSTANCE_ID is that of the original.

    Raises StoreRefused if there is no row that says which installation it is: the next start would make
    one, and send.
    """
    table = known.get("postroom_installation")
    if table is None or not database.number(f"SELECT COUNT(*) FROM {table.name} WHERE id = 1"):
        raise StoreRefused(
            "The backup does not say which installation it is of, so what came of it would send. Nothing was "
            "kept; take another backup."
        )
    has_mode = any(column.name == "capture_mode" for column in table.columns)
    mode = ", capture_mode = 'all'" if has_mode else ""
    database.say(
        f"UPDATE {table.name} SET instance = '{RESTORED}', capturing_since = CURRENT_TIMESTAMP, "
        f"capture_reason = '{COPY}'{mode}"
    )
