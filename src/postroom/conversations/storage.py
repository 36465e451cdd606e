"""Attachments lie in Django's storage under workspace and digest, once however often they are sent."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage

from postroom.conversations.models import Attachment, UnusedFile
from postroom.conversations.sanitise import showable
from postroom.wire.characters import one_line

_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_BIDI_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that comes with a draft. `content_id` (without angle brackets) makes it an inline image."""

    name: str
    content_type: str
    content: bytes = field(repr=False)
    content_id: str = ""

    @property
    def clean_name(self) -> str:
        """The name without folders, controls and characters that make it look like another."""
        bare = re.split(r"[/\\]", one_line(_BIDI_OVERRIDES.sub("", self.name)))[-1].strip(" .")
        stem, dot, ending = bare.rpartition(".")
        return (bare if len(bare) <= 200 else f"{stem[:180]}{dot}{ending[:19]}"[:200]) or "attachment"

    @property
    def clean_type(self) -> str:
        """The media type without parameters, or application/octet-stream for anything that is none."""
        bare = self.content_type.partition(";")[0].strip().lower()
        return bare if _CONTENT_TYPE.fullmatch(bare) and len(bare) <= 127 else "application/octet-stream"


def keep(workspace_id: int, upload: Upload) -> Attachment:
    """Write the octets into the storage, unless they are there, and give the row to save with a message.

    The row is to be committed within a day: what nothing refers to for longer is removed.
    """
    attachment = Attachment(
        workspace_id=workspace_id,
        name=upload.clean_name,
        content_type=upload.clean_type,
        size=len(upload.content),
        digest=hashlib.sha256(upload.content).hexdigest(),
        content_id=showable(upload.content_id).strip("<> ")[:255],
    )
    want(attachment.storage_name)
    put(attachment.storage_name, upload.content)
    return attachment


def want(name: str) -> None:
    """Keep a file from being removed as unused; call it before `put`.

    Waits for a removal that is under way: then the file is gone, and `put` writes it anew. A removal that
    starts later looks again whether anything refers to the file.
    """
    noted = UnusedFile.objects.filter(name=name)
    if noted.exists():  # most are not, and a look is cheaper than a write
        noted.delete()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose octets lie in the storage before there is a message for it."""

    name: str
    content_type: str
    size: int
    digest: str
    content_id: str = ""


def put_aside(workspace_id: int, upload: Upload) -> StoredFile:
    """Write the octets into the storage for a message that is posted later. Raises OSError."""
    kept = keep(workspace_id, upload)
    return StoredFile(kept.name, kept.content_type, kept.size, kept.digest, kept.content_id)


def taken_up(workspace_id: int, file: StoredFile) -> Upload:
    """The same file with its octets. Raises OSError if the storage has lost them."""
    row = Attachment(workspace_id=workspace_id, digest=file.digest)
    return Upload(file.name, file.content_type, read(row), file.content_id)


def put(name: str, octets: bytes) -> None:
    """Have exactly these octets in the storage under the name; what else lies there is replaced.

    Returns only once they can be read back, from files only once they are on the disk. Raises OSError (or
    what the storage raises) otherwise; then they may not be dropped anywhere else. In files a failed write
    leaves nothing behind.
    """
    storage = default_storage
    if isinstance(storage, FileSystemStorage):
        path = Path(storage.path(name))
        if not _holds(name, octets):
            _write_file(path, octets, mode=storage.file_permissions_mode)
        for folder in _folders_of(path, Path(storage.path(""))):
            _sync_folder(folder)
    elif not _holds(name, octets):
        _save(name, octets)
    if not _holds(name, octets):
        raise OSError(f"The storage did not keep {name} as it was written.")


def _holds(name: str, octets: bytes) -> bool:
    """Is the name there with these octets? A file that a full disk cut short is not."""
    if not default_storage.exists(name) or default_storage.size(name) != len(octets):
        return False
    digest = hashlib.sha256()
    with default_storage.open(name) as file:
        for chunk in file.chunks():
            digest.update(chunk)
    return digest.digest() == hashlib.sha256(octets).digest()


def _write_file(path: Path, octets: bytes, *, mode: int | None) -> None:
    """Write beside the final name and rename, so that under the final name there is all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(number, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644 if mode is None else mode)
        os.replace(beside, path)
    except BaseException:  # a process that is being ended leaves nothing behind either
        Path(beside).unlink(missing_ok=True)
        raise


def _folders_of(path: Path, top: Path) -> Iterator[Path]:
    """The folder of a file and those above it up to the storage's own: each may just have been made."""
    for folder in path.parents:
        yield folder
        if folder == top:
            return


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _save(name: str, octets: bytes) -> None:
    """Save into a storage that is no folder of ours, in place of what was there."""
    default_storage.delete(name)
    written = default_storage.save(name, ContentFile(octets))
    if written != name:  # somebody else wrote the same octets in the same moment
        default_storage.delete(written)


def read(attachment: Attachment) -> bytes:
    """The octets of an attachment. Raises OSError if the storage has lost them."""
    with default_storage.open(attachment.storage_name) as file:
        content: bytes = file.read()
    return content


# What lies there.


def buckets_of(workspace_id: int) -> list[str]:
    """The first two digits of the digests that a workspace has files of, in order."""
    try:
        return sorted(default_storage.listdir(str(workspace_id))[0])
    except FileNotFoundError:
        return []


def names_in(workspace_id: int, bucket: str) -> list[str]:
    """The names of all files in a bucket, those that a dying process left half-written too."""
    folder = f"{workspace_id}/{bucket}"
    try:
        return [f"{folder}/{name}" for name in sorted(default_storage.listdir(folder)[1])]
    except FileNotFoundError:
        return []


def remove(name: str) -> None:
    """Have nothing under the name any more. Raises OSError (or what the storage raises)."""
    default_storage.delete(name)
