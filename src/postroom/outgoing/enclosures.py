"""Which files of a message travel with it, and which become links because the mail would be too large."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from postroom.conversations.models import Attachment, Message
from postroom.wire.compose import Part
from postroom.wire.mime_writing import base64_octets, quoted_printable_octets
from postroom.workspaces import tokens

HEADER_OCTETS = 8 * 1024  # more than the header block of a letter ever takes
SPARE_OCTETS = 10 * 1024  # what the layout adds to the body, and the boundaries
OCTETS_PER_FILE = 1024  # the header of a part, or a link in both bodies


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file of a message: as it is kept, and as it would travel."""

    attachment: Attachment
    part: Part


@dataclass(frozen=True, slots=True)
class Linked:
    """A file that a letter leads to. `content_id` is set if the body shows it as a picture."""

    name: str
    url: str
    size: int
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Enclosed:
    """What became of the files of a message, each in the order in which they were given."""

    attached: tuple[Part, ...] = ()
    linked: tuple[Linked, ...] = ()

    def with_links(self, body: str) -> str:
        """The HTML with its pictures fetched from where they are, if they do not travel with it."""
        for file in self.linked:
            if file.content_id:
                body = re.sub(rf"cid:{re.escape(file.content_id)}(?=[\"'\s>])", file.url, body)
        return body


def enclosed(message: Message, files: Sequence[Enclosure], max_octets: int | None) -> Enclosed:
    """Attach what fits a mail of at most `max_octets` (None: everything does) and link the rest.

    Pictures of the text come first, then the smallest files: so the fewest have to be fetched.
    """
    room = None if max_octets is None else max_octets - _octets_without_files(message, len(files))
    travelling: set[int] = set()
    for number, file in sorted(enumerate(files), key=lambda each: (not each[1].part.inline, _size(each[1]))):
        size = base64_octets(_size(file))
        if room is None or size <= room:
            travelling.add(number)
            room = None if room is None else room - size
    return Enclosed(
        tuple(file.part for number, file in enumerate(files) if number in travelling),
        tuple(_linked(message, file) for number, file in enumerate(files) if number not in travelling),
    )


def _octets_without_files(message: Message, file_count: int) -> int:
    bodies = quoted_printable_octets(message.body) + quoted_printable_octets(message.text)
    return HEADER_OCTETS + bodies + SPARE_OCTETS + file_count * OCTETS_PER_FILE


def _size(file: Enclosure) -> int:
    return len(file.part.content)


def _linked(message: Message, file: Enclosure) -> Linked:
    token = tokens.links().download(file.attachment.pk, int(message.created_at.timestamp()))
    content_id = file.part.content_id if file.part.inline else None
    url = f"{settings.POSTROOM_BASE_URL}/d/{token}"
    return Linked(file.attachment.name, url, file.attachment.size, content_id or "")
