"""Addresses: RFC 5322 mailboxes, their normal form, and a parser that no header can stall."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.header import Header, decode_header

import idna

MAX_ADDRESS_OCTETS = 254  # what fits between the angle brackets of a 256-octet path (RFC 5321 §4.5.3.1.3)
MAX_LOCAL_PART_OCTETS = 64  # RFC 5321 §4.5.3.1.1
MAX_DISPLAY_NAME = 200

_DOT_ATOM = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+)*\Z"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9])?\Z")
# C0 and C1 controls, and the characters that turn the direction of text: both can disguise a name.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]+")
_ATOM_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ \-]*\Z")


class AddressError(ValueError):
    """Not one deliverable address; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name and a normalised address."""

    display_name: str
    addr_spec: str

    @property
    def local_part(self) -> str:
        """What stands before the @."""
        return self.addr_spec.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """What stands after the @."""
        return self.addr_spec.rpartition("@")[2]

    def __str__(self) -> str:
        name = clean_name(self.display_name)
        return f"{_phrase(name)} <{self.addr_spec}>" if name else self.addr_spec

    def header(self) -> bytes:
        """The mailbox as ASCII header octets on one line: RFC 2047 words for a name that needs them."""
        name = clean_name(self.display_name)
        address = self.addr_spec.encode("ascii", "replace")
        if not name:
            return address
        if not name.isascii():
            words = Header(name, "utf-8", maxlinelen=75).encode(linesep="")
            return b"%b <%b>" % (words.encode("ascii"), address)
        return b"%b <%b>" % (_phrase(name).encode("ascii"), address)


def clean_name(name: str) -> str:
    """A display name without control and direction characters, white space folded, cut to a sane length."""
    return " ".join(_UNSEEN.sub(" ", name).split())[:MAX_DISPLAY_NAME]


def _phrase(name: str) -> str:
    if _ATOM_PHRASE.match(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def normalise(text: str) -> str:
    """The one form of an address by which we know it: trimmed, lower case, ASCII domain.

    Raises AddressError for anything that is not one deliverable address.
    """
    address = text.strip().lower()
    if address.count("@") != 1:
        raise AddressError(f"{_shown(text)} is not an address: write one like ana@example.com.")
    local_part, domain = address.split("@")
    if not _DOT_ATOM.match(local_part) or _UNSEEN.search(address):
        raise AddressError(
            f"{_shown(text)} is not an address: the part before the @ is empty or has characters that are not allowed."
        )
    if len(local_part.encode()) > MAX_LOCAL_PART_OCTETS:
        raise AddressError(
            f"{_shown(text)} is not an address: the part before the @ is longer than 64 octets."
        )
    address = f"{local_part}@{_normal_domain(domain, text)}"
    if len(address.encode()) > MAX_ADDRESS_OCTETS:
        raise AddressError(f"{_shown(text)} is longer than 254 octets; no server takes that.")
    return address


def _normal_domain(domain: str, text: str) -> str:
    domain = domain.rstrip(".") if domain.endswith(".") and not domain.endswith("..") else domain
    if not domain.isascii():
        domain = _ascii_domain(domain, text)
    labels = domain.split(".")
    if not all(map(_LABEL.match, labels)) or labels[-1].isdigit():
        raise AddressError(
            f"{_shown(text)} is not an address: what follows the @ is not a domain like example.com."
        )
    if len(labels) == 1 and domain != "localhost":
        raise AddressError(f"{_shown(text)} is not an address: the domain needs a dot, as in example.com.")
    return domain


def _ascii_domain(domain: str, text: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError(f"{_shown(text)} is not an address: its domain is not a valid name.") from error


def _shown(text: str) -> str:
    text = clean_name(text)
    return f"“{text if len(text) <= 80 else text[:79] + '…'}”"


def parse_mailboxes(header: str, limit: int = 1000) -> list[Mailbox]:
    """The mailboxes of an address-list header, in order, at most `limit`.

    Groups are flattened, comments and routes dropped, names decoded (RFC 2047); what cannot be read is
    left out. Never raises; the time grows with the length of the header and nothing else.
    """
    found: list[Mailbox] = []
    for item in _Items(header):
        mailbox = item.mailbox()
        if mailbox is not None:
            found.append(mailbox)
            if len(found) >= limit:
                break
    return found


@dataclass(slots=True)
class _Item:
    """The pieces of one list member: words outside angle brackets, what is inside, and the last comment."""

    outside: list[str]
    inside: list[str] | None
    comment: str

    def mailbox(self) -> Mailbox | None:
        outside = "".join(self.outside).strip()
        if self.inside is None:
            address, name = outside, self.comment
        else:
            address, name = "".join(self.inside), outside or self.comment
        address = address.strip()
        if address.startswith("@") and ":" in address:  # an obsolete route (RFC 5322 §4.4)
            address = address.rpartition(":")[2]
        try:
            return Mailbox(decode_words(name), normalise(address))
        except AddressError:
            return None


class _Items:
    """Walks an address list once, character by character."""

    def __init__(self, header: str) -> None:
        self._text = header
        self._at = 0

    def __iter__(self) -> _Items:
        return self

    def __next__(self) -> _Item:
        if self._at >= len(self._text):
            raise StopIteration
        item = _Item([], None, "")
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character in ",;":
                break
            self._take(character, item)
        return item

    def _take(self, character: str, item: _Item) -> None:
        if character == '"':
            item.outside.append(self._quoted())
        elif character == "(":
            item.comment = self._comment()
        elif character == "<":
            item.inside = [self._until(">")]
        elif character == ":" and "@" not in "".join(item.outside[-3:]) and item.inside is None:
            item.outside.clear()  # the name of a group
        else:
            item.outside.append(character)

    def _quoted(self) -> str:
        kept: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                break
            if character == "\\" and self._at < len(self._text):
                character = self._text[self._at]
                self._at += 1
            kept.append(character)
        return "".join(kept)

    def _comment(self) -> str:
        start, depth = self._at, 1
        while self._at < len(self._text) and depth:
            character = self._text[self._at]
            self._at += 2 if character == "\\" else 1
            depth += (character == "(") - (character == ")")
        return self._text[start : self._at - (0 if depth else 1)]

    def _until(self, end: str) -> str:
        start = self._at
        stop = self._text.find(end, start)
        self._at = len(self._text) if stop < 0 else stop + 1
        return self._text[start:] if stop < 0 else self._text[start:stop]


def decode_words(text: str) -> str:
    """RFC 2047 words made readable; what cannot be decoded stays as it is. Unseen characters are dropped."""
    text = text[: 20 * MAX_DISPLAY_NAME]
    if "=?" not in text:
        return clean_name(text)
    try:
        pieces = decode_header(text)
    except ValueError:
        return clean_name(text)
    return clean_name("".join(_decoded(octets, charset) for octets, charset in pieces))


def _decoded(octets: bytes | str, charset: str | None) -> str:
    if isinstance(octets, str):
        return octets
    try:
        return octets.decode(charset or "ascii", "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")
