"""`postroom restore`."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.backup import BackupFile
from postroom.commands.failures import Stopped, wrong_use
from postroom.commands.output import AsJson, print_one

if TYPE_CHECKING:
    from postroom_server.store.manifest import Head, Manifest
    from postroom_server.store.progress import Progress


@dataclass(frozen=True, slots=True)
class RestoredShape:
    """What was restored, and where. `database` is "sqlite" or "postgresql".

    `is_capturing` is read from what was restored, and always true: it sends nothing until somebody says that
    it is the original. `missing_files` were missing when the backup was made.
    """

    folder: str
    database: str
    row_count: int
    file_count: int
    missing_files: list[str]
    made_at: str
    made_by: str
    is_capturing: bool


def restore(
    file: BackupFile,
    *,
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="A new or empty data folder.")],
    database: Annotated[
        str, typer.Option(metavar="URL", help="An empty postgresql:// database; left out: SQLite in FOLDER.")
    ] = "",
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The secret keys, if they are not inside.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty folder and an empty database. It starts in capture mode, as a copy.

    It is verified first. All of it is there afterwards, or nothing.
    """
    from postroom.commands.watching import watched
    from postroom_server.store import archive, databases, landing

    if database and not databases.is_postgres(database):
        raise wrong_use("--database takes postgresql://user:password@host/name. Left out, it is SQLite.")
    with watched() as progress:
        progress.begin("Reading the backup", None)
        head, manifest = archive.verify(file, progress.advance)
        text = _keys_for(file, keys, manifest)
        folder = data.expanduser().resolve()
        with landing.room_for(folder), landing.landing_place(folder) as place:
            is_capturing = _restore(_Restore(file, place, database, text), head, manifest, progress)
    vendor = "postgresql" if database else "sqlite"
    shape = RestoredShape(
        folder=str(folder),
        database=vendor,
        row_count=manifest.row_count,
        file_count=manifest.file_count,
        missing_files=manifest.missing_files,
        made_at=head.created_at,
        made_by=head.postroom,
        is_capturing=is_capturing,
    )
    print_one(shape, _words(shape, database, has_file=bool(text)), as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Restore:
    """From where to where. `keys` empty: they come from the environment."""

    file: Path
    place: Path
    database: str
    keys: str


def _keys_for(file: Path, keys: Path | None, manifest: Manifest) -> str:
    """The text of secret.key; empty if the environment has the keys. Raises Stopped if nobody has them."""
    from postroom_server import config as configuration
    from postroom_server.store import landing

    if keys is not None:
        return keys.read_text("ascii")
    if configuration.load({**os.environ, "POSTROOM_DATA": os.devnull})["POSTROOM_SECRET_KEY"]:
        return ""
    if manifest.has_keys:
        return landing.keys_in(file)
    raise Stopped(
        "The secret keys are not in this backup, and without them it is worth nothing. Name the file that "
        "has them with --keys (the secret.key of the installation), or set POSTROOM_SECRET_KEY."
    )


def _restore(wanted: _Restore, head: Head, manifest: Manifest, progress: Progress) -> bool:
    """Make the tables of the backup's version, fill them, bring them up to date, take the folder over.

    Returns whether it captures, by the row that the next start reads.
    """
    _set_up(wanted)
    from django.conf import settings

    if head.key_check not in settings.POSTROOM_KEY_CHECKS:
        raise Stopped(
            "These secret keys are not those of this backup: its passwords could not be opened and its "
            "signed addresses would mean nothing. Name the right file with --keys."
        )
    _refuse_newer(head)
    with _in_database(wanted):
        return _fill(wanted, head, manifest, progress)


def _fill(wanted: _Restore, head: Head, manifest: Manifest, progress: Progress) -> bool:
    from postroom.commands import opening
    from postroom_server.store import databases, landing, loading

    _make_tables_of(head.migrations)
    with contextlib.closing(databases.open_database(wanted.database, wanted.place)) as database:
        loading.load(database, wanted.file, wanted.place, head, manifest, progress=progress)
        database.commit()
    opening.make_tables()
    is_capturing = _is_capturing()
    _disconnect()
    if not is_capturing:
        raise Stopped("What came of this backup would send, so nothing of it was kept. Take another backup.")
    landing.take_over(wanted.place)
    return is_capturing


def _is_capturing() -> bool:
    from postroom.workspaces import installation
    from postroom.workspaces.models import CaptureMode, Installation

    row = Installation.objects.filter(pk=1, capture_reason=installation.COPY).first()
    return installation.of_installation(row).mode == CaptureMode.ALL


def _set_up(wanted: _Restore) -> None:
    from postroom.commands import opening
    from postroom_server.keys import FILE_NAME

    if wanted.keys:
        os.environ.pop("POSTROOM_SECRET_KEY", None)
        os.environ.pop("POSTROOM_SECRET_KEY_FILE", None)
        path = wanted.place / FILE_NAME
        path.touch(mode=0o600)
        path.write_text(wanted.keys, "ascii")
    os.environ["POSTROOM_DATA"] = str(wanted.place)
    os.environ["DATABASE_URL"] = wanted.database
    opening.set_up_django()


def _refuse_newer(head: Head) -> None:
    from importlib.metadata import version

    from postroom.commands.opening import unknown_migrations

    if unknown := unknown_migrations(head.migrations):
        raise Stopped(
            f"This backup was made by Postroom {head.postroom}, which is newer than this one "
            f"({version('postroom')} does not know {unknown[0]}). Restore it with that version."
        )


@contextlib.contextmanager
def _in_database(wanted: _Restore) -> Iterator[None]:
    """All of it is in the database at the end, or nothing; SQLite lies in the folder and goes with it."""
    from postroom_server.store import databases, loading

    if not wanted.database:
        yield
        return
    try:
        with loading.begun(lambda: databases.Postgres(wanted.database), wanted.place.parent):
            yield
    finally:
        _disconnect()


def _make_tables_of(migrations: Mapping[str, list[str]]) -> None:
    """The tables as they were when the backup was made: the migrations after them find its rows."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    applied = {(app, name) for app, names in migrations.items() for name in names}
    graph = executor.loader.graph
    known = [node for node in applied if node in graph.node_map]
    executor.migrate(
        [node for node in known if not any(child in applied for child in graph.node_map[node].children)]
    )
    _disconnect()


def _disconnect() -> None:
    from django.db import connections

    connections.close_all()


def _words(shape: RestoredShape, database: str, *, has_file: bool) -> str:
    from postroom_server.store import databases

    told = _told(shape.folder, database)
    hidden = f", with the password for {databases.HIDDEN}" if databases.HIDDEN in told else ""
    keys = "" if has_file else " The secret keys stay in your environment; it needs them at every start."
    missing = "".join(f"\n{name} was missing when the backup was made." for name in shape.missing_files)
    return (
        f"{shape.row_count} rows and {shape.file_count} files of {shape.made_at} are in {shape.folder} "
        f"({shape.database}), and they are what the backup says.{keys}{missing}\n"
        f"Start it{hidden}; it knows that it is a copy: capture mode is on and nothing leaves.\n"
        f"  {told} postroom up\n"
        "Beside the original on the same machine it needs addresses of its own as well, for instance:\n"
        f"  {told} POSTROOM_HTTP=127.0.0.1:8081 POSTROOM_SMTP=127.0.0.1:2535 postroom up\n"
        "If it takes the place of the original, stop the original for good and then say so here:\n"
        f"  {told} postroom capture off"
    )


def _told(folder: str, database: str) -> str:
    """What each command on it has to be told, as a shell takes it."""
    from postroom_server.store import databases

    url = f"DATABASE_URL={shlex.quote(databases.shown(database))} " if database else ""
    return f"{url}POSTROOM_DATA={shlex.quote(folder)}"
