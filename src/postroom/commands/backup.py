"""`postroom backup …`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from postroom.commands.output import AsJson, print_one

if TYPE_CHECKING:
    from postroom_server.config import Config
    from postroom_server.store.manifest import Head, Manifest


class CreatesByDefault(TyperGroup):
    """`postroom backup FILE` is short for `postroom backup create FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where there is none."""
        is_named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if is_named else ["create", *args])


app = typer.Typer(
    cls=CreatesByDefault,
    help="Backups: one file with all that the installation keeps, made while it runs.",
    no_args_is_help=True,
)
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup, a .tar or .tar.gz file.")]


@dataclass(frozen=True, slots=True)
class BackupShape:
    """A backup and what it holds. `made_by` is the version of Postroom, `database` where the rows come from.

    `table_count` are the tables that have rows. `missing_files` are named by a row and were not in the
    storage when it was made; `damaged_files` were, with other octets than they should have. `octets` is the
    size of the file. `keys` says where the secret keys are, without which it cannot be restored: a path,
    "inside", or "POSTROOM_SECRET_KEY" of the environment; when a backup is verified only "inside" or
    "outside".
    """

    file: str
    octets: int
    created_at: str
    made_by: str
    database: str
    table_count: int
    row_count: int
    file_count: int
    file_octets: int
    missing_files: list[str]
    damaged_files: list[str]
    keys: str
    is_verified: bool


@app.command("create", epilog="Example: postroom backup /backups/postroom.tar.gz --keys /safe/postroom.key")
def create(
    file: BackupFile,
    *,
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys/--without-keys", help="Put the secret keys inside: it then opens everything."
        ),
    ] = False,
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the secret keys to a file of their own.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Read the backup again once it is written.")] = True,
    as_json: AsJson = False,
) -> None:
    """Write a backup of everything: rows, attachments, mails. It goes on working meanwhile.

    `postroom backup FILE` is short for this. The secret keys stay outside unless you say otherwise: keep them
    apart from the backups, and keep them.
    """
    from postroom.commands.opening import open_installation
    from postroom_server.store import new_file

    new_file.check_name(file)
    if keys is not None:
        new_file.refuse_if_there(keys)
    config = open_installation()
    if keys is not None:
        new_file.write_keys(keys, _text_of_keys(config))
    head, manifest = _write(file, config, is_with_keys=with_keys, is_verified=verify)
    shape = _shape(file, head, manifest, keys=_place_of_keys(config, keys, with_keys), is_verified=verify)
    print_one(shape, _made(shape), as_json=as_json)


def _write(file: Path, config: Config, *, is_with_keys: bool, is_verified: bool) -> tuple[Head, Manifest]:
    from postroom.commands.watching import watched
    from postroom_server.store import backing_up, databases

    keys = _text_of_keys(config) if is_with_keys else None
    database = databases.open_database(config["DATABASE_URL"], config.data)
    with contextlib.closing(database), watched() as progress:
        return backing_up.back_up(
            database, config.data / "storage", file, keys=keys, is_verified=is_verified, progress=progress
        )


@app.command("verify", epilog="Example: postroom backup verify /backups/postroom.tar.gz")
def verify(file: BackupFile, as_json: AsJson = False) -> None:
    """Read a backup from its beginning to its end and hold it against its manifest."""
    from postroom.commands.watching import watched
    from postroom_server.store import archive

    with watched() as progress:
        progress.begin("Reading", None)
        head, manifest = archive.verify(file, progress.advance)
    keys = "inside" if manifest.has_keys else "outside"
    shape = _shape(file, head, manifest, keys=keys, is_verified=True)
    print_one(shape, _found(shape), as_json=as_json)


def _text_of_keys(config: Config) -> str:
    from postroom_server import keys

    return config["POSTROOM_SECRET_KEY"] or (config.data / keys.FILE_NAME).read_text("ascii")


def _place_of_keys(config: Config, written: Path | None, is_inside: bool) -> str:
    from postroom_server import keys

    if is_inside:
        return "inside"
    if written is not None:
        return str(written)
    value = config.values["POSTROOM_SECRET_KEY"]
    return "POSTROOM_SECRET_KEY" if value.text else str(config.data / keys.FILE_NAME)


def _shape(file: Path, head: Head, manifest: Manifest, *, keys: str, is_verified: bool) -> BackupShape:
    return BackupShape(
        file=str(file),
        octets=file.stat().st_size,
        created_at=head.created_at,
        made_by=head.postroom,
        database=head.vendor,
        table_count=sum(each.count > 0 for each in manifest.contents.values()),
        row_count=manifest.row_count,
        file_count=manifest.file_count,
        file_octets=manifest.file_octets,
        missing_files=manifest.missing_files,
        damaged_files=manifest.damaged_files,
        keys=keys,
        is_verified=is_verified,
    )


def _made(shape: BackupShape) -> str:
    checked = "It was read again and is whole." if shape.is_verified else "It was not read again."
    if shape.keys == "inside":
        keys = "The secret keys are inside: whoever has this file can open everything in it."
    else:
        keys = f"The secret keys are not inside, and without them it is worth nothing: {_kept(shape.keys)}"
    how = f"`postroom restore {shape.file} --data FOLDER` restores it, as a copy that sends nothing."
    return f"{_held(shape)} {checked}\n{keys}\n{_lost(shape)}{how}"


def _kept(keys: str) -> str:
    where = "POSTROOM_SECRET_KEY has them" if keys == "POSTROOM_SECRET_KEY" else f"they are in {keys}"
    return f"{where}. Keep a copy apart from the backups."


def _found(shape: BackupShape) -> str:
    keys = "are inside" if shape.keys == "inside" else "are not inside"
    return (
        f"{_held(shape)} It is whole. Made at {shape.created_at} by Postroom {shape.made_by} from "
        f"{shape.database}; the secret keys {keys}.\n{_lost(shape)}"
    ).rstrip()


def _held(shape: BackupShape) -> str:
    return (
        f"{shape.file} ({shape.octets} octets) holds {shape.row_count} rows of {shape.table_count} tables "
        f"and {shape.file_count} files."
    )


def _lost(shape: BackupShape) -> str:
    """What the storage itself had lost: the backup cannot bring it back, so it is said at once."""
    gone = [f"{name} is missing from the storage." for name in shape.missing_files]
    gone += [f"{name} is damaged in the storage." for name in shape.damaged_files]
    return "".join(f"{sentence}\n" for sentence in gone)
