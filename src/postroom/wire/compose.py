"""Values to RFC 5322 octets: a letter is serialised once and substituted for each recipient."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from postroom.wire.address import Mailbox
from postroom.wire.header_lines import (
    date_line,
    extra_line,
    field,
    identifier_line,
    identifiers_line,
    mailbox_line,
    text_line,
)
from postroom.wire.mime_writing import Part, write_entity
from postroom.wire.threads import message_ids

__all__ = ["COPY_HEADER", "Letter", "Part", "Template", "compile_letter", "dot_stuff", "field"]

COPY_HEADER: Final = "X-Postroom-Copy"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_FIELD: Final = re.compile("\x02([a-z0-9_]+)\x03")
_WRITTEN_FIELD: Final = re.compile(rb"\x02([a-z0-9_]+)\x03")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is said, before it has a recipient.

    `text`, `html`, `subject`, `message_id` and the values of `headers` may hold fields (`field("name")`).
    `html` empty means a letter of text alone.
    `headers` are further ones such as Auto-Submitted; those that the letter writes itself are refused.
    """

    from_: Mailbox
    subject: str
    date: datetime
    message_id: str
    references: str = ""
    reply_to: Mailbox | None = None
    text: str
    html: str
    attachments: Sequence[Part] = ()
    headers: Sequence[tuple[str, str]] = ()
    sender: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A whole mail as a bytes %-format: `%(to)b`, `%(copy)b` and the letter's own fields.

    `fields` names what `substitute` needs. Everything else is ready for the wire: CRLF line ends,
    and 7-bit lines of at most 998 octets if it was compiled from a Letter.
    """

    octets: bytes
    fields: tuple[str, ...]

    @classmethod
    def literal(cls, raw: bytes) -> Self:
        """Take a mail that is already written: line ends become CRLF, NUL is removed, nothing is refused."""
        octets = _LINE_END.sub(b"\r\n", raw).replace(b"\0", b"")
        return cls(octets.replace(b"%", b"%%"), ())

    def substitute(self, values: Mapping[bytes, bytes]) -> bytes:
        """Put the values in; raises KeyError if one of `fields` is missing.

        `to` is made with `Mailbox.header()`, `copy` with `tokens.copy_mark`, what stands in a body with
        `mime_writing.text_value` or `html_value`, in a header with `header_lines.header_value`.
        """
        return self.octets % values


def compile_letter(letter: Letter, fields: Sequence[str] = ()) -> Template:
    """Serialise a letter once for all its recipients.

    `fields` names the fields that the letter may hold; marks of others are taken out, so that nobody
    can ask for a value by writing its mark.
    The same letter gives the same octets, boundaries included. Raises ValueError for a naive date, an
    unusable header name, and a field where none can stand; the message names the remedy.
    """
    letter = _with_fields_only(letter, frozenset(fields))
    entity = write_entity(letter.text, letter.html, letter.attachments)
    lines = [*_header_lines(letter), *entity.header_lines, "MIME-Version: 1.0"]
    octets = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + entity.body
    names = [b"to", b"copy", *_WRITTEN_FIELD.findall(octets)]
    octets = _WRITTEN_FIELD.sub(rb"%(\1)b", octets.replace(b"%", b"%%"))
    return Template(octets, tuple(name.decode("ascii") for name in dict.fromkeys(names)))


def _with_fields_only(letter: Letter, known: frozenset[str]) -> Letter:
    def without_others(text: str) -> str:
        return _FIELD.sub(lambda found: found[0] if found[1] in known else " ", text)

    return replace(
        letter,
        subject=without_others(letter.subject),
        message_id=without_others(letter.message_id),
        text=without_others(letter.text),
        html=without_others(letter.html),
        headers=[(name, without_others(value)) for name, value in letter.headers],
    )


def _header_lines(letter: Letter) -> list[str]:
    lines = [
        date_line("Date", letter.date),
        mailbox_line("From", letter.from_),
        *([mailbox_line("Sender", letter.sender)] if letter.sender else []),
        f"To: {field('to')}",
        *([mailbox_line("Reply-To", letter.reply_to)] if letter.reply_to else []),
        text_line("Subject", letter.subject),
        identifier_line("Message-ID", letter.message_id),
    ]
    return [*lines, *_ancestry_lines(letter), f"{COPY_HEADER}: {field('copy')}", *_extra_lines(letter)]


def _ancestry_lines(letter: Letter) -> list[str]:
    """References, and In-Reply-To with the nearest ancestor, because some mail programs read only that."""
    lines = [identifiers_line("References", letter.references)] if message_ids(letter.references) else []
    ancestors = [known for known in message_ids(letter.references) if known != letter.message_id]
    if ancestors and not any(name.lower() == "in-reply-to" for name, _ in letter.headers):
        lines.append(identifiers_line("In-Reply-To", ancestors[-1]))
    return lines


def _extra_lines(letter: Letter) -> list[str]:
    return [extra_line(name, value) for name, value in letter.headers]


def dot_stuff(octets: bytes) -> bytes:
    """Prepare content for DATA: lines that start with a dot get another one, the last line its CRLF.

    Expects CRLF line ends. The final dot is not part of what is returned (RFC 5321 §4.5.2).
    """
    if octets.startswith(b"."):
        octets = b"." + octets
    octets = octets.replace(b"\r\n.", b"\r\n..")
    return octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"
