"""Header lines of our own letters: ASCII, folded, and never more than one header in one."""

import re
from datetime import datetime
from email.utils import format_datetime
from typing import Final

from postroom.wire.address import Mailbox
from postroom.wire.characters import one_line
from postroom.wire.encoded_words import encode
from postroom.wire.threads import message_ids

LINE_OCTETS: Final = 998  # RFC 5322 §2.1.1
_FOLD_AT: Final = 76
_WORDS_FIT_AFTER: Final = 45  # octets of a name, with which one short encoded word still makes a line of 76
# RFC 5322 §3.6.4; a fold in one of them is undone by some relays and breaks DKIM signatures and threads.
_IDENTIFICATION: Final = frozenset(["in-reply-to", "references", "resent-message-id"])
_UNBROKEN_OCTETS: Final = 900
_FIELD: Final = re.compile("(\x02[a-z0-9_]+\x03)")
_FIELDS_IN_A_LINE: Final = 2
_BESIDE_FIELDS: Final = 300
_FIELD_NAME: Final = re.compile("[a-z][a-z0-9_]*")
_HEADER_NAME: Final = re.compile(r"[!-9;-~]{1,70}")
_WRITTEN_BY_THE_LETTER: Final = frozenset(
    [
        *(
            "date",
            "from",
            "sender",
            "to",
            "reply-to",
            "subject",
            "message-id",
            "references",
            "x-postroom-copy",
        ),
        *("mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-id"),
        *("bcc", "resent-bcc", "return-path"),
    ]
)


def field(name: str) -> str:
    """The mark to write into a letter where each recipient's own value will stand.

    `name` is lower-case letters, digits and underscores; anything else raises ValueError.
    """
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a field: use lower-case letters, digits and underscores.")
    return f"\x02{name}\x03"


def header_value(text: str, room: int = 340) -> bytes:
    """Write a recipient's own value for a field in a header: ASCII, one line, at most `room` octets.

    Two fields of 340 octets fit a line; where a field is all there is in a header, `room` may be 900.
    """
    text = one_line(text)
    if text.isascii() and "=?" not in text:
        return text[:room].encode("ascii")
    return " ".join(encode(text)[: (room + 1) // 76]).encode("ascii")


def date_line(name: str, moment: datetime) -> str:
    """Write an aware time; a naive one raises ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"{name} needs an aware time: give the datetime its time zone.")
    return f"{name}: {format_datetime(moment)}"


def mailbox_line(name: str, mailbox: Mailbox) -> str:
    """Write a header that holds one mailbox."""
    return f"{name}: {mailbox.header().decode('ascii')}"


def text_line(name: str, text: str) -> str:
    """Write unstructured text: folded, in RFC 2047 words where it goes beyond ASCII."""
    if _FIELD.search(text):
        return _line_with_fields(name, text)
    text = one_line(text)
    words = text.split(" ")
    if text.isascii() and "=?" not in text and max(map(len, words)) <= _UNBROKEN_OCTETS:
        return _folded(name, words)
    if len(name) > _WORDS_FIT_AFTER:
        return f"{name}:\r\n " + "\r\n ".join(encode(text))
    return f"{name}: " + "\r\n ".join(encode(text, taken=len(name) + 2))


def identifier_line(name: str, message_id: str) -> str:
    """Write one identifier, never folded; raises ValueError if it does not fit one line."""
    if _FIELD.search(message_id):
        return _line_with_fields(name, message_id)
    line = f"{name}: {one_line(message_id).encode('ascii', 'replace').decode('ascii')}"
    if len(line) > LINE_OCTETS:
        raise ValueError(f"A {name} of {len(line)} octets does not fit a line: use a shorter identifier.")
    return line


def identifiers_line(name: str, text: str) -> str:
    """Write identifiers on one line, never folded; what is no identifier is left out.

    Of more than a line holds (RFC 5322 §2.1.1) the last ones are kept: the nearest ancestors, and in
    References the mail's own.
    """
    kept: list[str] = []
    room = LINE_OCTETS - len(name) - 1
    for known in reversed(message_ids(text)):
        if known.isascii() and len(known) < room:
            kept.append(known)
            room -= len(known) + 1
    return f"{name}: {' '.join(reversed(kept))}"


def extra_line(name: str, value: str) -> str:
    """Write a header that the caller names.

    Raises ValueError for what is no header name, and for headers that the letter writes itself.
    """
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{one_line(name)[:80]!r} cannot be the name of a header.")
    if name.lower() in _WRITTEN_BY_THE_LETTER:
        raise ValueError(f"The letter writes {name} itself: leave it out of the further headers.")
    if name.lower() in _IDENTIFICATION:
        return identifiers_line(name, value)
    return text_line(name, value)


def _line_with_fields(name: str, text: str) -> str:
    """Write a value with fields on one line, because what will stand there is not known yet."""
    pieces = [
        # The letters keep the spaces at the ends, which are inside the line.
        piece if _FIELD.fullmatch(piece) else one_line(f"x{piece}x")[1:-1]
        for piece in _FIELD.split(text)
    ]
    line = "".join(pieces)
    if not line.isascii() or "=?" in line or len(line) > _BESIDE_FIELDS:
        raise ValueError(f"In {name}, a field can only stand beside short ASCII text: make it all one field.")
    if len(pieces) // 2 > _FIELDS_IN_A_LINE:
        raise ValueError(f"{name} has more than two fields: join them into one.")
    return f"{name}: {line.strip()}"


def _folded(name: str, words: list[str]) -> str:
    """Join words with spaces, on a new line where the old one is full."""
    lines = [f"{name}: {words[0]}"]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _FOLD_AT:
            lines.append(f" {word}")
        else:
            lines[-1] += f" {word}"
    return "\r\n".join(lines)
