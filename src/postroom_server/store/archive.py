"""A backup as a file: a tar archive that is written and read from its beginning to its end, in little memory.

`postroom-backup.json` comes first, then the rows of each table in pieces (`rows/<table>/<number>.jsonl`), the
files of the storage, perhaps the keys, and last `manifest.json`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import re
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, Self

from postroom_server.store import files, rows
from postroom_server.store.manifest import END, HEAD, KEYS, Content, Head, Manifest
from postroom_server.store.refusals import StoreRefused
from postroom_server.store.rows import Digest, Row
from postroom_server.store.tables import Table

PIECE_OCTETS = 4 * 1024 * 1024
#: A piece ends with the row that fills it; no row that Postroom takes in comes near to this.
LONGEST_OCTETS = 64 * PIECE_OCTETS
_PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.XHDTYPE)
_GZIP = b"\x1f\x8b"
_ROWS = re.compile(r"rows/([a-z0-9_]+)/[0-9]{6}\.jsonl")
STORAGE = "storage/"
Seen = Callable[[int], None]


class Writer:
    """Writes a backup into an open file; `finish` says what it holds."""

    def __init__(self, file: IO[bytes], *, is_compressed: bool) -> None:
        self.manifest = Manifest()
        mode: Literal["w|gz", "w|"] = "w|gz" if is_compressed else "w|"
        self._tar = tarfile.open(fileobj=file, mode=mode)  # noqa: SIM115  # finish() ends it

    def add(self, name: str, octets: bytes) -> None:
        """A member of its own; its digest goes into the manifest."""
        self.manifest.members[name] = hashlib.sha256(octets).hexdigest()
        self._put(name, len(octets), io.BytesIO(octets))

    def add_rows(self, table: Table, found: Iterable[Row], last_number: int, seen: Seen) -> None:
        """All rows of a table, in pieces. `seen` is told of each piece how many rows it has."""
        digest = Digest()
        for number, (lines, count) in enumerate(_pieces(found)):
            self.add(f"rows/{table.name}/{number:06}.jsonl", lines)
            digest.add(lines, count)
            seen(count)
        self.manifest.contents[table.name] = Content(digest.count, digest.text, last_number)

    def add_file(self, storage: Path, name: str) -> None:
        """A file of the storage. What is not there or not whole is noted, and does not end the backup."""
        try:
            file = (storage / name).open("rb")
        except FileNotFoundError:
            self.manifest.missing_files.append(name)
            return
        with file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            read = _Digesting(file)
            self._put(STORAGE + name, size, read)
        self.manifest.file_count += 1
        self.manifest.file_octets += size
        if read.text != files.digest_in(name):
            self.manifest.damaged_files.append(name)

    def finish(self) -> None:
        """Write the manifest and end the archive."""
        octets = self.manifest.as_octets()
        self._put(END, len(octets), io.BytesIO(octets))
        self._tar.close()

    def _put(self, name: str, size: int, file: Any) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, int(time.time())
        self._tar.addfile(member, file)
        _forget_members(self._tar)


def _forget_members(tar: tarfile.TarFile) -> None:
    """It keeps all that it ever met; here a million files may pass."""
    tar.members = []  # type: ignore[attr-defined]  # absent from the stubs


class _Digesting(io.RawIOBase):
    """Reads a file and digests what is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._whole = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        octets = self._file.read(size)
        self._whole.update(octets)
        return octets

    @property
    def text(self) -> str:
        return self._whole.hexdigest()


def _pieces(found: Iterable[Row]) -> Iterator[tuple[bytes, int]]:
    lines: list[bytes] = []
    size = 0
    for row in found:
        lines.append(rows.line(row))
        size += len(lines[-1])
        if size >= PIECE_OCTETS:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines), len(lines)


# Reading.


@contextlib.contextmanager
def members(path: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """The members of a backup with their octets, one after the other.

    Raises StoreRefused for a file that is no archive, breaks off, or holds what no backup holds.
    """
    try:
        with path.open("rb") as file:
            mode: Literal["r|gz", "r|"] = "r|gz" if file.read(2) == _GZIP else "r|"
            file.seek(0)
            with tarfile.open(fileobj=file, mode=mode, tarinfo=_PlainMember) as tar:
                yield _each(tar)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StoreRefused(
            f"{path} is no whole backup of Postroom ({error}): it breaks off or is damaged. Take another one."
        ) from error


class _PlainMember(tarfile.TarInfo):
    """A file as `Writer` writes it; others may say that they are longer than what there is of them."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in _PLAIN_TYPES or (member.type == tarfile.XHDTYPE and member.size > PIECE_OCTETS):
            raise StoreRefused(f"This is no backup of Postroom: {member.name} is no plain file in it.")
        return member


def _each(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    while (member := tar.next()) is not None:
        _forget_members(tar)
        file = tar.extractfile(member) if member.isreg() and not member.issparse() else None
        if file is None or not _is_known(member.name):
            raise StoreRefused(f"This is no backup of Postroom: it holds {member.name}. Take another file.")
        if member.size > LONGEST_OCTETS and not member.name.startswith(STORAGE):
            raise StoreRefused(
                f"This is no backup of Postroom: {member.name} is too long. Take another file."
            )
        yield member.name, file


def _is_known(name: str) -> bool:
    is_file = name.startswith(STORAGE) and files.NAME.fullmatch(name.removeprefix(STORAGE))
    return name in (HEAD, END, KEYS) or bool(_ROWS.fullmatch(name) or is_file)


def table_of(name: str) -> str:
    """Whose rows a member holds; empty if none."""
    found = _ROWS.fullmatch(name)
    return found[1] if found else ""


def head_of(path: Path) -> Head:
    """What a backup is, read from its first member. Raises StoreRefused."""
    with members(path) as found:
        return _head_from(found)


def _head_from(found: Iterator[tuple[str, IO[bytes]]]) -> Head:
    name, file = next(found, ("", io.BytesIO()))
    if name != HEAD:
        raise StoreRefused(
            f"This is no backup of Postroom: it does not begin with {HEAD}. Take another file."
        )
    return Head.of_octets(file.read())


def verify(path: Path, seen: Seen = lambda count: None) -> tuple[Head, Manifest]:
    """Read a whole backup and hold it against its manifest. Raises StoreRefused if anything differs."""
    found = Manifest()
    digests: dict[str, Digest] = {}
    with members(path) as each:
        for name, file in each:
            if name == END:
                head, said = head_of(path), Manifest.of_octets(file.read())
                _compare(path, found, digests, said)
                if not {table.name for table in head.tables} <= set(said.contents):
                    raise StoreRefused(f"{END} of this backup leaves tables out: take another backup.")
                return head, said
            _take_in(name, file, found, digests)
            seen(1)
    raise StoreRefused(
        f"{path} is damaged or breaks off: {END}, its end, cannot be reached. Take another backup."
    )


def _take_in(name: str, file: IO[bytes], found: Manifest, digests: dict[str, Digest]) -> None:
    if name.startswith(STORAGE):
        _take_in_file(name.removeprefix(STORAGE), file, found)
        return
    whole, table = hashlib.sha256(), table_of(name)
    while chunk := file.read(files.CHUNK):
        whole.update(chunk)
        if table:
            digests.setdefault(table, Digest()).add(chunk, chunk.count(b"\n"))
    found.members[name] = whole.hexdigest()


def _take_in_file(name: str, file: IO[bytes], found: Manifest) -> None:
    whole = hashlib.sha256()
    while chunk := file.read(files.CHUNK):
        whole.update(chunk)
        found.file_octets += len(chunk)
    found.file_count += 1
    if whole.hexdigest() != files.digest_in(name):
        found.damaged_files.append(name)


def _compare(path: Path, found: Manifest, digests: dict[str, Digest], said: Manifest) -> None:
    names = {**found.members, **said.members}
    differing = [name for name in names if found.members.get(name) != said.members.get(name)]
    for table, content in said.contents.items():
        digest = digests.get(table, Digest())
        if (digest.count, digest.text) != (content.count, content.digest):
            differing.append(table)
    differing += sorted(set(found.damaged_files) ^ set(said.damaged_files))
    if (found.file_count, found.file_octets) != (said.file_count, said.file_octets):
        differing.append("the files of the storage")
    if differing:
        raise StoreRefused(
            f"{path} is damaged: {', '.join(differing[:5])} differ from its manifest. Take another backup."
        )
