"""The data folder: made at the first start, and known to be usable before anything is done in it."""

import contextlib
import os
import sqlite3
from pathlib import Path

from postroom_server.config import Config, FolderUnusable

_WRITTEN = (
    "postroom.sqlite3",
    "secret.key",
    "engine.lock",
    "instance",
    "logs",
    "logs/postroom.log",
    "logs/.rotation",
    "logs/.tidying",
    "storage",
)
_DATABASE = ("postroom.sqlite3", "postroom.sqlite3-wal", "postroom.sqlite3-shm")
#: A restore works in here; as long as it is there the restore has not come to its end.
RESTORING = ".restoring"
#: Beside a SQLite file: what was in it lives on elsewhere (the file says where).
MOVED = "-moved"
#: How the triggers of a moved SQLite file begin: whoever had it open before the move writes no more either.
SHUT = "postroom_moved_"
_FOR_OTHERS = 0o077
_REMEDY = "or name another folder with POSTROOM_DATA"


def prepare(config: Config) -> Path:
    """Make the data folder if there is none, and return it. Raises FolderUnusable with the remedy.

    What this process makes from here on is for its own user alone.
    """
    os.umask(_FOR_OTHERS)
    folder = config.data
    if folder.exists() and not folder.is_dir():
        raise FolderUnusable(
            f"POSTROOM_DATA names {folder}, which is a file. Name a folder with POSTROOM_DATA."
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(
            f"The data folder {folder} cannot be made ({error.strerror}). Make it for this user, {_REMEDY}."
        ) from error
    _refuse_if_half_restored(folder)
    _refuse_if_moved(config)
    for path in (folder, *(folder / name for name in _WRITTEN)):
        _check_writable(path)
    if (folder / "secret.key").exists():  # otherwise it may be a folder that is shared on purpose
        _close_to_others(folder)
    return folder


def sqlite_file(config: Config) -> Path | None:
    """Where the SQLite database lies; None if DATABASE_URL names another database."""
    scheme, _, place = config["DATABASE_URL"].partition(":///")
    if not scheme:
        return config.data / "postroom.sqlite3"
    return Path(place.partition("?")[0]) if scheme.startswith("sqlite") and place else None


def _refuse_if_half_restored(folder: Path) -> None:
    if (folder / RESTORING).exists():
        raise FolderUnusable(
            f"A restore into {folder} has not come to its end, so nothing is started here. If it does not "
            "run any more, run `postroom restore` once more; it begins anew."
        )


def _refuse_if_moved(config: Config) -> None:
    database = sqlite_file(config)
    mark = Path(f"{database}{MOVED}")
    if database is not None and mark.exists():
        raise FolderUnusable(
            f"{mark.read_text('utf-8').strip()} Set DATABASE_URL to it. To go back to what was here at that "
            f"moment, remove {mark}; never run both."
        )
    if database is not None and database.exists():
        with contextlib.suppress(sqlite3.Error):  # a file that is none says so where it is used
            _open_again(database)


def _open_again(database: Path) -> None:
    """Without its mark a moved SQLite file takes writes again: its mark is there before its triggers are."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as lite:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        shut = [name for (name,) in lite.execute(query) if name.startswith(SHUT)]
        if shut:
            lite.execute("BEGIN IMMEDIATE")
            for name in shut:
                lite.execute(f'DROP TRIGGER IF EXISTS "{name}"')
            lite.execute("COMMIT")


def is_untouched(config: Config) -> bool:
    """Was nothing ever started on this data folder? False if it is none, or the database is elsewhere."""
    data = config.data
    if config["DATABASE_URL"] or (data.exists() and not data.is_dir()):
        return False
    return not data.exists() or not (config["POSTROOM_SECRET_KEY"] or (data / "secret.key").exists())


def _close_to_others(folder: Path) -> None:
    for path in (folder, *(folder / name for name in _DATABASE)):
        with contextlib.suppress(OSError):  # gone meanwhile, or a file system that keeps no modes
            found = path.stat()
            if found.st_uid == os.geteuid() and found.st_mode & _FOR_OTHERS:
                path.chmod(found.st_mode & 0o7700)


def _check_writable(path: Path) -> None:
    rights = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
    if path.exists() and not os.access(path, rights):
        raise FolderUnusable(f"{path} cannot be written to. Give this user the right to, {_REMEDY}.")
