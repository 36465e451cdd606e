"""A new file that is there as a whole or not at all, and never in the place of another."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from postroom_server.store.refusals import StoreRefused

PLAIN, COMPRESSED = (".tar",), (".tar.gz", ".tgz")


def check_name(path: Path) -> None:
    """Raise StoreRefused unless a backup may be written to this file."""
    if not path.name.endswith(PLAIN + COMPRESSED):
        raise StoreRefused(f"{path} names no archive. Give the backup a name that ends in .tar or .tar.gz.")
    refuse_if_there(path)


def refuse_if_there(path: Path) -> None:
    """Raise StoreRefused if something is there already, or if there is no folder for it."""
    if path.exists() or path.is_symlink():
        raise StoreRefused(f"{path} is there already and is not overwritten. Choose another name.")
    if not path.absolute().parent.is_dir():
        raise StoreRefused(f"There is no folder {path.absolute().parent}. Make it, or choose another.")


def write_keys(path: Path, text: str) -> None:
    """Write the secret keys to a new file, for its owner alone. Raises StoreRefused if it is there."""
    refuse_if_there(path)
    with beside(path) as (file, _):
        file.write(text.encode("ascii"))


@contextlib.contextmanager
def beside(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file beside the wanted one, for its owner alone, that gets its name at the end or is gone."""
    _clear_away(path)
    number, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.absolute().parent)
    try:
        with open(number, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file, Path(name)
            file.flush()
            os.fsync(file.fileno())
            _name(Path(name), path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreRefused(
                f"There is no room for {path} ({error.strerror}). Make room, or choose another disk. "
                "Nothing was left behind."
            ) from error
        raise
    finally:
        Path(name).unlink(missing_ok=True)


def _clear_away(path: Path) -> None:
    """Remove what a backup of this name left that was killed: nobody holds its lock any more."""
    for part in path.absolute().parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def _name(part: Path, path: Path) -> None:
    """Give the file its name, unless somebody else took that meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        refuse_if_there(path)
    except OSError:  # a file system without links
        part.rename(path)
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
