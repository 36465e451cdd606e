"""Moves all that an installation keeps into an empty database; every row keeps its number."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from postroom.outgoing import journal
from postroom.workspaces import installation
from postroom_server.folder import MOVED, SHUT
from postroom_server.store import files, loading, named, rows, tables
from postroom_server.store.backing_up import INSTALLATION
from postroom_server.store.databases import Database
from postroom_server.store.progress import Progress
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.rows import Digest, Row
from postroom_server.store.tables import Table

_IN_HAND = "SELECT COUNT(*) FROM postroom_email WHERE lease <> ''"


@dataclass(frozen=True, slots=True)
class Copied:
    """A table and how many of its rows were copied, or would be."""

    name: str
    count: int


def counts(source: Database) -> list[Copied]:
    """What there is to move, table by table."""
    found = [
        Copied(table.name, source.number(f'SELECT COUNT(*) FROM "{table.name}"')) for table in tables.tables()
    ]
    return [each for each in found if each.count]


def in_hand_count(source: Database, workspace_id: int | None = None) -> int:
    """How many emails were being sent when Postroom ended; of a workspace, or of all."""
    of = f" AND workspace_id = {workspace_id:d}" if workspace_id is not None else ""
    return source.number(_IN_HAND + of)


def refuse_unsettled(source: Database, folder: Path, workspace_id: int | None) -> None:
    """Raise StoreRefused if what became of emails is known here alone: the journals stay in this folder."""
    count = in_hand_count(source, workspace_id)
    if count or _has_journals(folder / "journal"):
        raise StoreRefused(
            f"{count} emails were being sent when Postroom ended, and only the journals in {folder} say how "
            "that went: elsewhere some would be sent twice. Start `postroom up` here once, stop it with "
            "Ctrl+C, and try again."
        )


def _has_journals(folder: Path) -> bool:
    left = list(journal.left_behind(folder))
    for each in left:
        each.close()
    return bool(left)


def move_rows(source: Database, target: Database, progress: Progress) -> list[Copied]:
    """Copy every table, hold both sides against each other, and let the numbers go on where they were.

    The caller commits. Raises StoreRefused if a table did not come out as it was.
    """
    loading.clear_made_by_django(target)
    known = tables.tables()
    progress.begin("Rows", sum(each.count for each in counts(source)))
    digests = {table.name: _copy(source, target, table, progress) for table in known}
    progress.begin("Holding both sides against each other", sum(each.count for each in digests.values()))
    for table in known:
        digest = digests[table.name]
        loading.refuse_if_different(target, table, digest.count, digest.text)
        progress.advance(digest.count)
    loading.refuse_broken(target)
    return [Copied(name, digest.count) for name, digest in digests.items() if digest.count]


def _copy(source: Database, target: Database, table: Table, progress: Progress) -> Digest:
    digest = Digest()
    target.write(table, digesting(source.rows(table), digest, progress))
    if table.is_numbered:
        target.number_from(table, source.last_number(table))
    return digest


def digesting(found: Iterable[Row], digest: Digest, progress: Progress) -> Iterator[Row]:
    """The same rows, counted and digested as they pass."""
    for row in found:
        digest.add(rows.line(row), 1)
        progress.advance(1)
        yield row


def settle_identity(target: Database, *, was: str, is_same_folder: bool) -> bool:
    """Say which installation the target is now; return whether it starts in capture mode.

    `was` is what the source is where it lies (`installation.instance`). It takes the place of the source if
    that was the original and the data folder stays. A source that is a copy, noticed or not, stays one.
    """
    found = next(iter(list(target.ask(f"SELECT instance, capture_reason FROM {INSTALLATION}"))))
    is_copy = found[1] == installation.COPY or found[0] != was
    if is_copy:
        loading.mark_as_copy(target, tables.by_name(tables.tables()))
    elif is_same_folder:
        target.say(f"UPDATE {INSTALLATION} SET instance = ?", [installation.instance()])
    return is_copy or not (is_same_folder or was == installation.instance())


def mark_moved(source: Database, database: Path, where: str) -> Path:
    """Leave word beside a SQLite file that what was in it lives on elsewhere: nothing starts on it.

    Who has it open already, and waits for its turn to write, is told the same by the database.
    """
    mark = Path(f"{database}{MOVED}")
    sentence = f"This installation was moved to {where} at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    with mark.open("x", encoding="utf-8") as file:
        file.write(f"{sentence}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        _shut(source, f"{sentence} Set DATABASE_URL to it; nothing was written here.")
    except BaseException:
        mark.unlink()
        raise
    return mark


def _shut(source: Database, sentence: str) -> None:
    """Refuse every write. RAISE would be an IntegrityError, which callers take for a row that is there."""
    named = sentence.replace('"', "")
    here = set(source.table_names())
    for name in (*tables.by_name(tables.tables()), *tables.fleeting_names()):
        for verb in ("INSERT", "UPDATE", "DELETE") if name in here else ():
            source.say(
                f'CREATE TRIGGER "{SHUT}{name}_{verb.lower()}" BEFORE {verb} ON "{name}" '
                f'BEGIN SELECT "{named}"(); END'  # no such function: this is what the error says
            )
    source.commit()


def copy_files(
    source: Database, storage: Path, other: Path, progress: Progress, workspace_id: int | None = None
) -> tuple[int, list[str]]:
    """Copy the files that rows name into another storage; return how many, and those that were not there.

    The storage is made, also if it gets no file. What lies there already with the right octets is left.
    Raises StoreRefused if one came out differently.
    """
    count, missing = 0, []
    other.mkdir(mode=0o700, parents=True, exist_ok=True)
    progress.begin("Files", None)
    for name in named.named_files(source, workspace_id):
        if not (storage / name).exists():
            missing.append(name)
            continue
        _copy_file(storage / name, other / name)
        count += 1
        progress.advance(1)
    return count, missing


def _copy_file(path: Path, new: Path) -> None:
    wanted = files.digest_of(path)
    if new.exists() and files.digest_of(new) == wanted:
        return
    new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = new.with_name(f".{new.name}.part")
    with path.open("rb") as old, part.open("wb") as fresh:
        shutil.copyfileobj(old, fresh)
        fresh.flush()
        os.fsync(fresh.fileno())
    part.replace(new)
    if files.digest_of(new) != wanted:
        raise StoreRefused(f"{new} came out differently from {path}. Look at that disk; nothing was moved.")


def source_instance(database: Path) -> str:
    """What the installation on a SQLite file is where it lies, as its own start would say."""
    return installation.instance(("", str(database.resolve())))
