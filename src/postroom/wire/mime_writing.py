"""Bodies of our own letters: MIME entities in 7-bit octets."""

import binascii
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from postroom.wire.characters import one_line, readable
from postroom.wire.file_names import ascii_file_name, clean_file_name, file_name_parameter

_FIELD: Final = re.compile("(\x02[a-z0-9_]+\x03)")
_CONTENT_TYPE: Final = re.compile(
    r"(?!multipart/)[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}"
    r"(?:; ?[a-z0-9-]{1,40}=(?:[a-z0-9_.+-]{1,80}|\"[a-z0-9 _.+-]{1,80}\"))*",
    re.IGNORECASE,
)
_CONTENT_TYPE_CHARACTERS: Final = 400
_BASE64_LINE_OCTETS: Final = 57
_UNSAFE_7BIT: Final = re.compile(rb"[\x00-\x08\x80-\xff]|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")


@dataclass(frozen=True, slots=True)
class Part:
    """A file that goes with a letter, or came with one.

    `content` is the decoded octets. `inline` with a `content_id` (without angle brackets) is a picture
    that the HTML shows as `cid:`.
    """

    name: str
    content_type: str
    content: bytes
    content_id: str | None = None
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Entity:
    """One MIME entity: its own header lines, and its body, which ends with a line end."""

    header_lines: tuple[str, ...]
    body: bytes

    def octets(self) -> bytes:
        """The entity as it stands between boundaries."""
        return "\r\n".join(self.header_lines).encode("ascii") + b"\r\n\r\n" + self.body


def write_entity(text: str, html_text: str, parts: Sequence[Part]) -> Entity:
    """Write text and HTML as alternatives, beside them the pictures of the HTML, beside those the files.

    Only as many levels of multipart are made as there is something to hold.
    """
    boundaries = _boundaries(text, html_text, parts)
    shown = [part for part in parts if part.inline and part.content_id]
    others = [part for part in parts if not (part.inline and part.content_id)]
    bodies = [_text_entity("plain", text)] if text or not html_text else []
    bodies += [_text_entity("html", html_text)] if html_text else []
    entity = bodies[0] if len(bodies) == 1 else _multipart("alternative", bodies, next(boundaries))
    for subtype, found in (("related", shown), ("mixed", others)):
        if found:
            entity = _multipart(subtype, [entity, *map(_part_entity, found)], next(boundaries))
    return entity


def text_value(text: str) -> bytes:
    """Write a recipient's own value for a field in the text body."""
    return _quoted_printable(text) + b"=\r\n"


def html_value(text: str) -> bytes:
    """Write a recipient's own value for a field in the HTML body; markup in it is shown, not obeyed."""
    return text_value(html.escape(text))


def quoted_printable_octets(text: str) -> int:
    """How many octets text takes in a body."""
    return len(_quoted_printable(text))


def base64_octets(count: int) -> int:
    """How many octets a file of `count` octets takes in a mail: 4 for 3, and each line's end."""
    return (count + 2) // 3 * 4 + 2 * -(-count // _BASE64_LINE_OCTETS)


def _text_entity(subtype: str, text: str) -> Entity:
    headers = (f"Content-Type: text/{subtype}; charset=utf-8", "Content-Transfer-Encoding: quoted-printable")
    pieces = _FIELD.split(text)
    if len(pieces) == 1:
        return Entity(headers, _quoted_printable(text) + b"\r\n")
    # Each literal piece ends in a soft line break, so that a value starts and ends on lines of its own.
    written = [
        piece.encode("ascii") if number % 2 else _quoted_printable(piece) + b"=\r\n"
        for number, piece in enumerate(pieces)
    ]
    return Entity(headers, b"".join(written) + b"\r\n")


def _quoted_printable(text: str) -> bytes:
    """Encode text with CRLF line ends, 7-bit, no line over 76 octets."""
    lines = readable(text).replace("\r\n", "\n").replace("\r", "\n")
    # binascii breaks lines with the line end that it finds in its input, so it gets one kind only.
    return binascii.b2a_qp(lines.encode("utf-8"), istext=True).replace(b"\n", b"\r\n")


def _part_entity(part: Part) -> Entity:
    content_type = one_line(part.content_type)
    name = clean_file_name(part.name)
    disposition = ["inline" if part.inline else "attachment", *(file_name_parameter(name) if name else [])]
    headers = ["Content-Disposition: " + ";\r\n ".join(disposition)]
    if part.content_id and (content_id := _content_id(part.content_id)):
        headers.append(f"Content-ID: <{content_id}>")
    # A message may not be base64 inside another one (RFC 2046 §5.2.1).
    if content_type.lower() == "message/rfc822" and not _UNSAFE_7BIT.search(part.content):
        return Entity((*headers, "Content-Type: message/rfc822"), part.content + b"\r\n")
    if not _is_content_type(content_type) or content_type.lower().startswith("message/"):
        content_type = "application/octet-stream"
    headers += [_content_type_line(content_type, name), "Content-Transfer-Encoding: base64"]
    return Entity(tuple(headers), _base64(part.content))


def _is_content_type(text: str) -> bool:
    return len(text) <= _CONTENT_TYPE_CHARACTERS and _CONTENT_TYPE.fullmatch(text) is not None


def _content_type_line(content_type: str, name: str) -> str:
    """The type, with the name in ASCII where Content-Disposition has it in a form that not everybody reads.

    It stands here because a second `filename` beside `filename*` is an error to some readers.
    """
    spare = ascii_file_name(name)
    has_name = "name=" in content_type.lower()
    return f"Content-Type: {content_type}" + (f';\r\n name="{spare}"' if spare and not has_name else "")


def _content_id(text: str) -> str:
    return "".join(character for character in text if "!" <= character <= "~" and character not in "<>")[:200]


def _base64(octets: bytes) -> bytes:
    lines = (
        binascii.b2a_base64(octets[at : at + _BASE64_LINE_OCTETS], newline=False)
        for at in range(0, len(octets), _BASE64_LINE_OCTETS)
    )
    return b"\r\n".join(lines) + b"\r\n"


def _multipart(subtype: str, entities: Sequence[Entity], boundary: str) -> Entity:
    delimiter = f"--{boundary}\r\n".encode("ascii")
    body = b"".join(delimiter + entity.octets() for entity in entities) + f"--{boundary}--\r\n".encode(
        "ascii"
    )
    return Entity((f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"',), body)


def _boundaries(text: str, html_text: str, parts: Sequence[Part]) -> Iterator[str]:
    """Yield boundaries that depend on the content alone: the same letter is written the same way twice.

    "=_" never occurs in quoted-printable or base64, and nobody can write a content that holds its own digest.
    """
    digest = blake2b(repr((text, html_text)).encode("utf-8"), digest_size=12)
    for part in parts:
        digest.update(
            repr((part.name, part.content_type, part.content_id, len(part.content))).encode("utf-8")
        )
        digest.update(part.content)
    for level in range(3):
        yield f"=_{level}_{digest.hexdigest()}"
