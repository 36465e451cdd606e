"""`postroom migrate-store`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.failures import Stopped, wrong_use
from postroom.commands.output import AsJson, print_one

if TYPE_CHECKING:
    from postroom_server.config import Config
    from postroom_server.store.databases import Database
    from postroom_server.store.moving import Copied
    from postroom_server.store.progress import Progress


@dataclass(frozen=True, slots=True)
class MovedTableShape:
    """A table and how many of its rows were moved."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class MovedShape:
    """What was moved, or with `is_dry_run` would be. `target` names the database without its password.

    `workspace` None: the whole installation. `in_hand_count` emails were being sent when it was stopped: the
    first start settles them. `file_count` files were copied into another storage (0 if it stays where it is),
    `missing_files` were not in it. `is_capturing`: the target sends nothing until somebody says that it may.
    `is_workspace_capturing`: the workspace alone captures its mail there, as it did here before.
    """

    target: str
    workspace: str | None
    is_dry_run: bool
    tables: list[MovedTableShape]
    row_count: int
    in_hand_count: int
    file_count: int
    missing_files: list[str]
    is_capturing: bool
    is_workspace_capturing: bool


@dataclass(frozen=True, slots=True)
class _Move:
    """From where to where."""

    folder: Path
    database: Path
    url: str
    slug: str
    storage: Path | None
    is_dry_run: bool

    @property
    def target(self) -> str:
        """The target without its password."""
        from postroom_server.store import databases

        return databases.shown(self.url)


def migrate_store(
    *,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="postgresql://user:password@host/name")],
    workspace: Annotated[
        str, typer.Option(metavar="SLUG", help="Only this workspace; left out: the whole installation.")
    ] = "",
    storage: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Copy the files into this storage, e.g. /srv/new/storage; left out: they stay.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look, compare and count; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move the installation, or with --workspace one of its workspaces, from SQLite to PostgreSQL.

    Postroom has to be stopped. Every row keeps its number, both sides are compared, and all of it is there
    afterwards or nothing. The SQLite file stays as it was, with a mark beside it.
    """
    from postroom_server import config as configuration

    config = configuration.load()
    move = _Move(config.data, _sqlite_of(config, to), to, workspace, storage, dry_run)
    with _only_we(move), _source(move) as source:
        shape = _moved(move, source)
    print_one(shape, _words(shape, move), as_json=as_json)


def _sqlite_of(config: Config, to: str) -> Path:
    from postroom_server import folder
    from postroom_server.store import databases

    if not databases.is_postgres(to):
        raise wrong_use("--to takes postgresql://user:password@host/name.")
    path = folder.sqlite_file(config)
    if path is None:
        raise Stopped(
            "This installation is on PostgreSQL already. To take it elsewhere, make a backup and restore it."
        )
    folder.prepare(config)
    return path


@contextlib.contextmanager
def _only_we(move: _Move) -> Iterator[None]:
    """Hold the folder so that no engine runs on it. Raises Stopped."""
    from postroom.engine.bells import EngineTaken, FolderBell

    bell = FolderBell(move.folder)
    try:
        bell.claim()
    except EngineTaken:
        raise Stopped(f"Postroom runs on the data folder {move.folder}. Stop it first.") from None
    yield
    del bell


@contextlib.contextmanager
def _source(move: _Move) -> Iterator[Database]:
    from postroom_server.store.databases import Sqlite

    with contextlib.closing(Sqlite(move.database)) as source:
        source.keep_others_from_writing()
        yield source


def _moved(move: _Move, source: Database) -> MovedShape:
    os.environ["DATABASE_URL"] = move.url
    from postroom.commands import opening
    from postroom.commands.watching import watched
    from postroom_server.store import databases

    opening.set_up_django()
    with contextlib.closing(databases.Postgres(move.url)) as target:
        _refuse_unfit(source, target)
        _refuse_full(move, source, target)
        _refuse_unsettled(move, source)
    if move.is_dry_run:
        return _shape(move, source, _counted(move, source))
    if not move.slug:
        _drop_empty_tables(move)
    opening.make_tables()
    with contextlib.closing(databases.Postgres(move.url)) as target, watched() as progress:
        return (
            _whole(move, source, target, progress) if not move.slug else _one(move, source, target, progress)
        )


def _refuse_unfit(source: Database, target: Database) -> None:
    """Both sides have to be of this version, and used with these keys."""
    from django.conf import settings

    from postroom.commands import opening
    from postroom_server.store import databases

    applied = databases.migrations_of(source)
    if opening.unknown_migrations(applied) or opening.missing_migrations(applied):
        raise Stopped("The database is of another version. Start `postroom up` once, stop it, and try again.")
    checks = [_key_check(database) for database in (source, target)]
    if any(check and check not in settings.POSTROOM_KEY_CHECKS for check in checks):
        raise Stopped(
            "The secret keys here are not those of both databases: signed addresses and stored passwords "
            "would be worthless there. Give both the same secret.key, or move into an empty database."
        )


def _key_check(database: Database) -> str:
    if "postroom_installation" not in database.table_names():
        return ""
    found = list(database.ask("SELECT key_check FROM postroom_installation"))
    return str(found[0][0]) if found else ""


def _refuse_full(move: _Move, source: Database, target: Database) -> None:
    """A whole installation needs an empty database; a workspace needs its numbers free."""
    from postroom_server.store import databases, loading, workspace_moving

    if not move.slug:
        loading.refuse_unless_empty(target)
        return
    parts = workspace_moving.parts_of(_workspace_id(move, source))
    if target.table_names():
        if databases.migrations_of(target) != databases.migrations_of(source):
            raise Stopped("The other database is of another version. Start `postroom up` on it once.")
        workspace_moving.refuse_if_taken(source, target, parts)


def _refuse_unsettled(move: _Move, source: Database) -> None:
    """Who starts on another folder has no journals; the same folder's first start reads them."""
    from postroom_server.store import moving

    if move.slug:
        moving.refuse_unsettled(source, move.folder, _workspace_id(move, source))
    elif move.storage is not None:
        moving.refuse_unsettled(source, move.folder, None)


def _drop_empty_tables(move: _Move) -> None:
    from postroom_server.store import databases, loading

    with contextlib.closing(databases.Postgres(move.url)) as target:
        loading.drop_empty_tables(target)


def _workspace_id(move: _Move, source: Database) -> int:
    known = {str(slug): int(pk) for pk, slug in source.ask("SELECT id, slug FROM postroom_workspace")}
    if move.slug not in known:
        raise wrong_use(f"There is no workspace {move.slug!r}. There is: {', '.join(sorted(known))}.")
    return known[move.slug]


def _counted(move: _Move, source: Database) -> list[Copied]:
    from postroom_server.store import moving, workspace_moving

    if not move.slug:
        return moving.counts(source)
    return workspace_moving.counts(source, workspace_moving.parts_of(_workspace_id(move, source)))


def _whole(move: _Move, source: Database, target: Database, progress: Progress) -> MovedShape:
    from postroom_server.store import moving

    copied = moving.move_rows(source, target, progress)
    count, missing = _copy_files(move, source, progress)
    was = moving.source_instance(move.database)
    is_capturing = moving.settle_identity(target, was=was, is_same_folder=move.storage is None)
    shape = _shape(move, source, copied, files=(count, missing), is_capturing=is_capturing)
    mark = moving.mark_moved(source, move.database, move.target)  # before the commit: never may both start
    try:
        target.commit()
    except BaseException:
        mark.unlink()  # the next command here takes the triggers away
        raise
    return shape


def _one(move: _Move, source: Database, target: Database, progress: Progress) -> MovedShape:
    from postroom_server.store import workspace_moving

    workspace_id = _workspace_id(move, source)
    mapping = workspace_moving.map_elsewhere(source, target, workspace_id)
    copied = workspace_moving.move_rows(source, target, workspace_id, mapping, progress)
    count, missing = _copy_files(move, source, progress, workspace_id)
    is_capturing = workspace_moving.settle_installation(source, target)
    shape = _shape(
        move, source, copied, files=(count, missing), is_capturing=is_capturing, workspace_id=workspace_id
    )
    workspace_moving.capture_in_source(source, workspace_id)
    source.commit()  # before the target's: never may it leave from both
    target.commit()
    return shape


def _copy_files(
    move: _Move, source: Database, progress: Progress, workspace_id: int | None = None
) -> tuple[int, list[str]]:
    from postroom_server.store import landing, moving

    if move.storage is None:
        return 0, []
    with landing.room_for(move.storage):
        return moving.copy_files(source, move.folder / "storage", move.storage, progress, workspace_id)


def _shape(
    move: _Move,
    source: Database,
    copied: list[Copied],
    *,
    files: tuple[int, list[str]] = (0, []),
    is_capturing: bool = False,
    workspace_id: int | None = None,
) -> MovedShape:
    from postroom_server.store import moving, workspace_moving

    return MovedShape(
        target=move.target,
        workspace=move.slug or None,
        is_dry_run=move.is_dry_run,
        tables=[MovedTableShape(each.name, each.count) for each in copied],
        row_count=sum(each.count for each in copied),
        in_hand_count=0 if move.slug else moving.in_hand_count(source),
        file_count=files[0],
        missing_files=files[1],
        is_capturing=is_capturing,
        is_workspace_capturing=workspace_id is not None
        and workspace_moving.is_capturing_in(source, workspace_id),
    )


def _words(shape: MovedShape, move: _Move) -> str:
    what = f"the workspace {shape.workspace}" if shape.workspace else "the installation"
    if shape.is_dry_run:
        besides = ", besides people and relays that are new there" if shape.workspace else ""
        return (
            f"{shape.row_count} rows of {len(shape.tables)} tables would move{besides}, and {shape.target} "
            f"can take {what}. Nothing was written."
        )
    hand = (
        f"\n{shape.in_hand_count} emails were being sent when Postroom was stopped; the first start "
        "settles them."
        if shape.in_hand_count
        else ""
    )
    files = f" {shape.file_count} files are in {move.storage}." if move.storage else ""
    missing = "".join(f"\n{name} was missing from the storage." for name in shape.missing_files)
    moved = (
        f"{shape.row_count} rows of {len(shape.tables)} tables are in {shape.target}, the same on both sides."
    )
    return f"{moved}{files}{hand}{missing}\n{_next_step(shape, move)}"


def _next_step(shape: MovedShape, move: _Move) -> str:
    capture = (
        " It starts in capture mode: nothing leaves until you say `postroom capture off` there."
        if shape.is_capturing
        else ""
    )
    if shape.workspace:
        back = f"postroom capture off --workspace {shape.workspace}"
        too = (
            f" It captures there as well, as it did here before the move: `{back}` there ends that."
            if shape.is_workspace_capturing
            else ""
        )
        return (
            f"Here the workspace {shape.workspace} captures its mail from now on: what is posted or arrives "
            f"here is not known there. `{back}` ends that if you go back. Let its mail domains lead to the "
            f"other installation.{too}{_own_folder(move)}{capture}"
        )
    return (
        f"Set DATABASE_URL to it, and start Postroom again.{_own_folder(move)}{capture} Nothing starts on "
        f"the SQLite file any more; to go back to it, remove {move.database}-moved."
    )


def _own_folder(move: _Move) -> str:
    """What another data folder needs before the first start there."""
    if move.storage is None:
        return ""
    from postroom_server.keys import FILE_NAME
    from postroom_server.settings import CONFIG

    storage = move.storage.resolve()
    where = str(storage.parent) if storage.name == "storage" else f"a folder that has {storage} as `storage`"
    key = f" and copy {move.folder / FILE_NAME} into it first" if not CONFIG["POSTROOM_SECRET_KEY"] else ""
    return f" Set POSTROOM_DATA there to {where}{key}."
