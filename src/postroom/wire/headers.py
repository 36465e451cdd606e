"""The header block of a foreign mail: every field kept, nothing trusted."""

import re
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from typing import Final

from postroom.wire.address import Mailbox, parse_mailboxes
from postroom.wire.characters import one_line, without_controls
from postroom.wire.charsets import decode
from postroom.wire.encoded_words import decode_words

_BLOCK_END: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(r"\n[ \t]")
_FIELD: Final = re.compile(r"^([!-9;-~]{1,200})[ \t]*:[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a foreign mail is read. What lies beyond is left out and named among the defects."""

    mail_octets: int = 50 * 1024 * 1024
    header_block: int = 256 * 1024
    one_header: int = 64 * 1024
    addresses: int = 1000
    parts: int = 1000
    depth: int = 50
    parameters: int = 100
    text_octets: int = 2 * 1024 * 1024


DEFAULT_LIMITS: Final = Limits()


class Headers:
    """Header fields in their order. Names are found in any case; values are unfolded text, not decoded.

    RFC 2047 words stay in the values, because commas and brackets inside them mean nothing;
    `text` and `mailboxes` decode.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(name for name, _ in self._fields)}>"

    def get(self, name: str) -> str | None:
        """The value of the first field of that name, or None."""
        name = name.lower()
        return next((value for found, value in self._fields if found.lower() == name), None)

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name, in their order."""
        name = name.lower()
        return [value for found, value in self._fields if found.lower() == name]

    def text(self, name: str) -> str:
        """The first field of that name as one readable line; empty if there is none."""
        return one_line(decode_words(self.get(name) or ""))

    def mailboxes(self, name: str, limit: int = 1000) -> list[Mailbox]:
        """The mailboxes of all fields of that name."""
        return parse_mailboxes(", ".join(self.get_all(name)), limit)


def scan_headers(octets: bytes, limits: Limits = DEFAULT_LIMITS) -> Headers:
    """Read the header block of a mail and nothing else. Cheap, and never raises."""
    return read_header_block(octets, 0, min(len(octets), limits.mail_octets), limits=limits, defects=[])[0]


def read_header_block(
    octets: bytes, start: int, end: int, *, limits: Limits, defects: MutableSequence[str]
) -> tuple[Headers, int]:
    """Read the header block that starts at `start`; return it and where the body begins.

    A block longer than the limit is read as far as the limit; a line that is no field is left out. Where
    there is not one field there is no header block, and all of it is the body.
    """
    if octets[start : start + 2].startswith((b"\n", b"\r\n")):
        return Headers([]), start + (1 if octets[start : start + 1] == b"\n" else 2)
    found = _BLOCK_END.search(octets, start, end)
    stop, body = (found.start(), found.end()) if found else (end, end)
    if stop - start > limits.header_block:
        defects.append("header-block-too-long")
        stop = start + limits.header_block
    fields = _fields(octets[start:stop], limits.one_header, defects)
    return Headers(fields), body if fields else start


def _fields(block: bytes, limit: int, defects: MutableSequence[str]) -> list[tuple[str, str]]:
    # Latin-1 keeps every octet, so that the block is cut as text and values are decoded one by one.
    lines = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("latin-1")
    lines = _FOLD.sub(" ", lines)
    found: list[tuple[str, str]] = _FIELD.findall(lines)
    if len(found) != _line_count(lines):
        defects.append("not-a-header")
    if len(lines) > limit and any(len(value) > limit for _, value in found):
        defects.append("header-too-long")
    return [(name, _decoded(value[:limit])) for name, value in found]


def _line_count(lines: str) -> int:
    return sum(1 for line in lines.split("\n") if line and not line.startswith("From "))


def _decoded(value: str) -> str:
    value = value.rstrip()
    if value.isascii():
        return without_controls(value)
    return without_controls(decode(value.encode("latin-1"), None))
