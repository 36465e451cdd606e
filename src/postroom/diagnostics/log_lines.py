"""How a line of the log is written, for people or as JSON. Addresses are shortened, but can be found.

A line for people is `2026-11-21 05:00:01.123Z INFO sent message=<…> email=123 reply="250 2.0.0 ok"`. What
strangers wrote stands in a value: it can neither begin a line, nor move a cursor, nor add a field, nor pass
for an address that we shortened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b
from json.encoder import encode_basestring as as_json
from typing import Any, Protocol

from postroom.wire.characters import visible

TAG_OCTETS = 4
LONGEST_VALUE = 500
_BARE = re.compile(r"[!#-\[\]-~]+")
_WITHOUT_TAG = str.maketrans({"\\": "\\\\", '"': '\\"'})
_SIGN = re.compile(r"[@\uff20\ufe6b]|[%=]40")  # "@", as other alphabets, URLs and MIME write it, too
# Every part of a local part has an end (RFC 5321 §4.5.3.1.1: 64 octets), so that a long line without an "@"
# costs no more than its length. What may also be a number (=40) counts only before a domain with a dot.
_ADDRESS = re.compile(
    r"""(?P<local>[\w.!#$%&'*+/=?^`{|}~-]{1,64}|"(?:[^"\\]|\\.){1,64}")(?:\([^()]{0,64}\))?"""
    r"(?:[@\uff20\ufe6b](?:\([^()]{0,64}\))?(?P<domain>[\w-]+(?:\.[\w-]+)*|\[[^\[\]\s]{1,255}\])"
    r"|[%=]40(?P<coded>[\w-]+(?:\.[\w-]+)*\.[^\W\d_][\w-]*))"
)
_OUR_MESSAGE_ID = re.compile(r"<[0-9a-f]{32}@[A-Za-z0-9.-]{1,253}>")
_DOMAIN = re.compile(r"[\w.:\[\]-]+")
_LIKE_A_TAG = re.compile(r"~(?=[0-9a-f]{8}(?![0-9A-Za-z]))")


@dataclass(frozen=True, slots=True)
class Cover:
    """What hides addresses in lines. `key` makes their tags; None, together with `is_off`, hides nothing."""

    key: bytes = b""
    is_off: bool = False

    def address(self, addr_spec: str) -> str:
        """`a****@example.com~3f9a0c17`: first letter, domain, and the tag by which it is found again."""
        return addr_spec if self.is_off or not addr_spec else masked(addr_spec, self.key)

    def written(self, addr_spec: str) -> str:
        """The same of one that a stranger wrote, who may have put anything in it."""
        local_part, _, domain = visible(addr_spec[:LONGEST_VALUE]).lower().rpartition("@")
        if local_part and _DOMAIN.fullmatch(domain):
            return self.address(f"{local_part}@{domain}")
        return self.foreign(addr_spec)

    def foreign(self, text: str, *, longest: int | None = LONGEST_VALUE) -> str:
        """What somebody else wrote, fit for a value: one line, its addresses hidden, no tag but ours."""
        text = visible(text[:longest])
        if "~" in text:
            text = _LIKE_A_TAG.sub("-", text)
        return text if self.is_off or not _SIGN.search(text) else _ADDRESS.sub(self._found, text)

    def message_id(self, text: str) -> str:
        """A Message-ID: one made here is shown whole; anybody may have put anything into another one."""
        return text if _OUR_MESSAGE_ID.fullmatch(text) else self.foreign(text)

    def _found(self, found: re.Match[str]) -> str:
        return masked(f"{found['local']}@{found['domain'] or found['coded']}".lower(), self.key)


def masked(addr_spec: str, key: bytes) -> str:
    """An address without its local part, but with a tag: keyed BLAKE2b (RFC 7693 §2.9), eight hex digits.

    Without the key nobody can try addresses until the tag fits.
    """
    local_part, _, domain = addr_spec.rpartition("@")
    return f"{first_of(local_part)}****@{domain}~{tag_of(addr_spec, key)}"


def first_of(local_part: str) -> str:
    """What is shown of a local part: its first letter or digit, else "_"."""
    first = local_part[:1]
    return first if first.isascii() and first.isalnum() else "_"


def tag_of(addr_spec: str, key: bytes) -> str:
    """Eight hex digits."""
    tag = tagger(key)
    tag.update(addr_spec.encode("utf-8", "replace"))
    return tag.hexdigest()


def tagger(key: bytes) -> blake2b:
    """What makes a tag, before it was told of an address; a copy of it makes one."""
    return blake2b(key=key, digest_size=TAG_OCTETS)


class Dialect(Protocol):
    """One way to write a line: its head, one field after the other, its end."""

    end: str

    def head(self, at: datetime, level: str, event: str) -> str:
        """The beginning of a line; `level` is INFO, WARNING or ERROR."""

    def text(self, name: str, value: str) -> str:
        """One field whose value has no control characters."""

    def number(self, name: str) -> str:
        """What stands before the value of a field that is a number."""

    def around(self, name: str, *, is_bare: bool) -> tuple[str, str]:
        """What stands before and after a value of printable ASCII without quotes and backslashes.

        `is_bare`: without spaces, too.
        """

    def free(self, at: datetime, level: str, logger: str, text: str) -> str:
        """A whole line, with its end, of what a part of the program said in words."""


class Human:
    """For people: `2026-11-21 05:00:01.123Z INFO sent name=value`."""

    end = "\n"

    def head(self, at: datetime, level: str, event: str) -> str:
        """Time, level and event."""
        return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z {level} {event}"

    def text(self, name: str, value: str) -> str:
        """A value with a space or a quote in it is quoted."""
        if _BARE.fullmatch(value):
            return f" {name}={value}"
        return f' {name}="{value.translate(_WITHOUT_TAG)}"'

    def number(self, name: str) -> str:
        """As it is."""
        return f" {name}="

    def around(self, name: str, *, is_bare: bool) -> tuple[str, str]:
        """Quotes, unless it is bare."""
        return (f" {name}=", "") if is_bare else (f' {name}="', '"')

    def free(self, at: datetime, level: str, logger: str, text: str) -> str:
        """The logger's name ends in a colon, so that it is no event. Lines of a traceback come indented."""
        return f"{self.head(at, level, logger)}: " + text + "\n"


class Json:
    """For programs: one JSON object a line."""

    end = "}\n"

    def head(self, at: datetime, level: str, event: str) -> str:
        """Timestamp, level and event."""
        time = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        return f'{{"timestamp":"{time}","level":"{level.lower()}","event":{as_json(event)}'

    def text(self, name: str, value: str) -> str:
        """A JSON string."""
        return f',"{name}":{as_json(value)}'

    def number(self, name: str) -> str:
        """A JSON number."""
        return f',"{name}":'

    def around(self, name: str, *, is_bare: bool) -> tuple[str, str]:
        """Quotes."""
        return f',"{name}":"', '"'

    def free(self, at: datetime, level: str, logger: str, text: str) -> str:
        """The words are the event; what came after the first line is the exception."""
        said, _, rest = text.partition("\n")
        exception = self.text("exception", rest) if rest else ""
        return f"{self.head(at, level, said)}{self.text('logger', logger)}{exception}{self.end}"


DIALECTS: dict[str, Dialect] = {"human": Human(), "json": Json()}


def line(dialect: Dialect, cover: Cover, at: datetime, said: Sequence[Any]) -> str:
    """One line: `said` is the level, the event, and its fields as (name, value); empty ones are left out.

    Strings are treated as written by a stranger, except what `Own` marks.
    """
    level, event, *fields = said
    written = "".join(
        _field(dialect, cover, name, value) for name, value in fields if value not in (None, "")
    )
    return f"{dialect.head(at, level, event)}{written}{dialect.end}"


class Own(str):
    """A value that hides nothing and that nobody outside could write: a slug, a word of ours."""

    __slots__ = ()


class MessageId(str):
    """A Message-ID, of ours or of anybody."""

    __slots__ = ()


class Person(str):
    """An address."""

    __slots__ = ()


def _field(dialect: Dialect, cover: Cover, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return dialect.text(name, "yes" if value else "no")
    if isinstance(value, int | float):
        return (
            f"{dialect.number(name)}{value:.6g}"
            if isinstance(value, float)
            else f"{dialect.number(name)}{value}"
        )
    if isinstance(value, datetime):
        return dialect.text(name, f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    if isinstance(value, Person):
        return dialect.text(name, cover.written(value))
    if isinstance(value, MessageId):
        return dialect.text(name, cover.message_id(value))
    if isinstance(value, Own):
        return dialect.text(name, visible(value))
    if isinstance(value, list | tuple):
        return dialect.text(name, cover.foreign(", ".join(map(str, value))))
    return dialect.text(name, cover.foreign(str(value)))


def opening(dialect: Dialect, day: date, at: float) -> str:
    """The first line of a file."""
    said = ("INFO", "log_opened", ("day", Own(day.isoformat())))
    return line(dialect, Cover(), datetime.fromtimestamp(at, UTC), said)


def gap(dialect: Dialect, count: int, at: float) -> str:
    """The line that stands for lines that could not be written."""
    said = ("WARNING", "log_gap", ("lines", count))
    return line(dialect, Cover(), datetime.fromtimestamp(at, UTC), said)
