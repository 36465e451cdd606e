"""Writes a backup of the installation that is open, while it goes on working."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from postroom_server.store import archive, databases, named, new_file, tables
from postroom_server.store.archive import Writer
from postroom_server.store.databases import Database
from postroom_server.store.manifest import HEAD, KEYS, Head, Manifest
from postroom_server.store.progress import Progress
from postroom_server.store.refusals import StoreRefused

INSTALLATION = "postroom_installation"


def back_up(
    database: Database,
    storage: Path,
    path: Path,
    *,
    keys: str | None = None,
    is_verified: bool = True,
    progress: Progress,
) -> tuple[Head, Manifest]:
    """Write one look at the database, then the files that it names, and last what all of that is.

    `keys` is the text of the secret keys if they are to be inside. The file has its name only once it is
    whole, on the disk and, if `is_verified`, read again. Raises StoreRefused; then nothing is left behind.
    """
    new_file.check_name(path)
    with new_file.beside(path) as (file, part):
        is_compressed = path.name.endswith(new_file.COMPRESSED)
        writer = Writer(file, is_compressed=is_compressed)
        made = _write(writer, database, storage, keys, progress)
        file.flush()
        os.fsync(file.fileno())
        if is_verified:
            progress.begin("Reading it again", len(writer.manifest.members) + writer.manifest.file_count)
            archive.verify(part, progress.advance)
    return made


def _write(
    writer: Writer, database: Database, storage: Path, keys: str | None, progress: Progress
) -> tuple[Head, Manifest]:
    known = tables.tables()
    head = head_of(database, known)
    writer.add(HEAD, head.as_octets())
    progress.begin("Rows", sum(database.number(f'SELECT COUNT(*) FROM "{table.name}"') for table in known))
    for table in known:
        last = database.last_number(table) if table.is_numbered else 0
        writer.add_rows(table, database.rows(table), last, progress.advance)
    progress.begin("Files", None)
    for name in named.named_files(database):
        writer.add_file(storage, name)
        progress.advance(1)
    if keys is not None:
        writer.add(KEYS, keys.encode("ascii"))
    writer.finish()
    return head, writer.manifest


def head_of(database: Database, known: list[tables.Table]) -> Head:
    """What a database is of. Raises StoreRefused if no installation was ever started on it."""
    found = list(database.ask(f"SELECT instance, key_check FROM {INSTALLATION}"))
    if not found:
        raise StoreRefused("Postroom was never started on this database: there is nothing to copy.")
    return Head(
        postroom=version("postroom"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        vendor=database.vendor,
        instance=str(found[0][0]),
        key_check=str(found[0][1]),
        migrations=databases.migrations_of(database),
        tables=tuple(known),
    )
