"""Attachments lie in Django's storage under workspace and digest, once however often they are sent."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from postroom.conversations.models import Attachment
from postroom.conversations.sanitise import showable

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
        bare = re.split(r"[/\\]", _BIDI_OVERRIDES.sub("", showable(self.name)).replace("\n", " "))[-1].strip(
            " ."
        )
        stem, dot, ending = bare.rpartition(".")
        return (bare if len(bare) <= 200 else f"{stem[:180]}{dot}{ending[:19]}"[:200]) or "attachment"

    @property
    def clean_type(self) -> str:
        """The media type without parameters, or application/octet-stream for anything that is none."""
        bare = self.content_type.partition(";")[0].strip().lower()
        return bare if _CONTENT_TYPE.fullmatch(bare) and len(bare) <= 127 else "application/octet-stream"


def keep(workspace_id: int, upload: Upload) -> Attachment:
    """Write the octets into the storage, unless they are there, and give the row to save with a message."""
    attachment = Attachment(
        workspace_id=workspace_id,
        name=upload.clean_name,
        content_type=upload.clean_type,
        size=len(upload.content),
        digest=hashlib.sha256(upload.content).hexdigest(),
        content_id=showable(upload.content_id).strip("<> ")[:255],
    )
    if not default_storage.exists(attachment.storage_name):
        _write(attachment.storage_name, upload.content)
    return attachment


def _write(name: str, content: bytes) -> None:
    written = default_storage.save(name, ContentFile(content))
    if written != name:  # somebody else wrote the same octets in the same moment
        default_storage.delete(written)


def read(attachment: Attachment) -> bytes:
    """The octets of an attachment. Raises OSError if the storage has lost them."""
    with default_storage.open(attachment.storage_name) as file:
        content: bytes = file.read()
    return content
