"""Addresses: RFC 5322 mailboxes, their normal form, and a parser that no header can stall."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import idna

from postroom.wire.characters import is_visible, one_line
from postroom.wire.encoded_words import decode_words, encode

MAX_ADDRESS_OCTETS: Final = 254  # what fits a 256-octet path (RFC 5321 §4.5.3.1.3) beside its brackets
MAX_LOCAL_PART_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
MAX_DISPLAY_NAME: Final = 200
MAX_ENCODED_NAME: Final = 80  # so that the words and the address fit a line of 998 octets

_ATOM: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_DOT_ATOM: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9])?")
_ATOM_PHRASE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ \-]*")
_SAFE_ADDRESS: Final = re.compile(
    r"""(?:[!#-'*+\-./0-9=?A-Z^-~]+|"(?:[ !#-\[\]-~]|\\[ -~])*")@[A-Za-z0-9_.\-]+"""
)


_PLAIN: Final = re.compile(
    rf"""(?:(?:"(?:[^"\\<>]|\\["\\])*"|[^"\\<>(),:;@]*)\s*<({_ATOM}(?:\.{_ATOM})*@[a-z0-9_.\-]+)>"""
    rf"""|({_ATOM}(?:\.{_ATOM})*@[a-z0-9_.\-]+))""",
    re.IGNORECASE,
)


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
        """Write the mailbox as ASCII header octets on one line, whatever the name holds.

        A name beyond ASCII becomes RFC 2047 words (at most 80 characters of it), so that the line stays
        below 998 octets. A local part beyond ASCII has no form in an ASCII header: it is shown as the
        name of an empty group (RFC 6857 §3.1.8); `wide_header` writes it. Raises AddressError for what is
        no address at all.
        """
        name, address = clean_name(self.display_name), self.addr_spec
        if not _SAFE_ADDRESS.fullmatch(address):
            address = normalise(address)
        if not address.isascii():
            return (" ".join(encode(f"{name[:MAX_ENCODED_NAME]} {address}".strip())) + " :;").encode("ascii")
        return (f"{_ascii_phrase(name)} <{address}>" if name else address).encode("ascii")

    def wide_header(self) -> bytes:
        """Write the mailbox with its local part in UTF-8 (RFC 6532 §3.2), on one line.

        Only for a server that offers SMTPUTF8. Without anything beyond ASCII in the address it is what
        `header` writes. Raises AddressError for what is no address at all.
        """
        if self.addr_spec.isascii():
            return self.header()
        name, address = clean_name(self.display_name), normalise(self.addr_spec)
        return (f"{_ascii_phrase(name)} <{address}>" if name else address).encode("utf-8")


def clean_name(name: str) -> str:
    """A display name without control and direction characters, white space folded, cut to a sane length."""
    return " ".join(one_line(name).split())[:MAX_DISPLAY_NAME].rstrip()


def without_addresses(name: str) -> str:
    """A display name without words that look like an address, and without angle brackets."""
    words = clean_name(name).split()
    kept = " ".join(word for word in words if "@" not in unicodedata.normalize("NFKC", word))
    return clean_name("".join(" " if unicodedata.normalize("NFKC", one) in "<>" else one for one in kept))


def is_plainly(mailbox: Mailbox, value: str | None) -> bool:
    """Would every reader find this mailbox, and no other address, in a header's value?

    Of `<a@x.example> <b@y.example>` one reader takes the first and another the second.
    """
    found = _PLAIN.fullmatch((value or "").strip())
    name = clean_name(mailbox.display_name)
    is_alone = found is not None and (found[1] or found[2]).lower() == mailbox.addr_spec
    return is_alone and without_addresses(name) == name


def _ascii_phrase(name: str) -> str:
    if name.isascii() and "=?" not in name:
        return _phrase(name)
    return " ".join(encode(name[:MAX_ENCODED_NAME]))


def _phrase(name: str) -> str:
    if _ATOM_PHRASE.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def normalise(text: str) -> str:
    """The one form of an address by which we know it: trimmed, lower case, ASCII domain.

    Raises AddressError for anything that is not one deliverable address.
    """
    address = unicodedata.normalize("NFC", text.strip(" \t\r\n\xa0").lower())
    if address.count("@") != 1 or len(address) > 4 * MAX_ADDRESS_OCTETS:
        raise AddressError(f"{_shown(text)} is not one address: write one like ana@example.com.")
    local_part, domain = address.split("@")
    if not _DOT_ATOM.fullmatch(local_part) or not is_visible(address) or len(address.split()) > 1:
        raise AddressError(
            f"{_shown(text)} is not an address: before the @ there is nothing, "
            "or a character that is not allowed."
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
    if not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise AddressError(
            f"{_shown(text)} is not an address: what follows the @ is not a domain like example.com."
        )
    if len(labels) == 1 and domain != "localhost":
        raise AddressError(f"{_shown(text)} is not an address: the domain needs a dot, as in example.com.")
    return domain


def _ascii_domain(domain: str, text: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except UnicodeError as error:
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
    for member in _members(header):
        mailbox = _mailbox(member)
        if mailbox is not None:
            found.append(mailbox)
            if len(found) >= limit:
                break
    return found


@dataclass(slots=True)
class _Member:
    """One member of a list: what stands outside angle brackets, what inside, and the last comment."""

    words: list[str]
    inside: str | None = None
    comment: str = ""


# Possessive throughout: no piece is ever scanned twice for the sake of another reading.
_QUOTED: Final = r'"(?:[^"\\]++|\\.)*+"'
_PIECE: Final = re.compile(
    rf"""(?P<inside><(?:[^<>"\\]++|\\.|{_QUOTED})*+>)|(?P<comment>\()|(?P<end>[,;])|(?P<group>:)"""
    rf"""|(?P<word>{_QUOTED}|[^"<>(),;:\\]++|\\.|.)""",
    re.DOTALL,
)
_QUOTED_STRING: Final = re.compile(_QUOTED, re.DOTALL)
_COMMENT_TURN: Final = re.compile(r"[()]|\\.", re.DOTALL)
_SPACE_AROUND: Final = re.compile(r"\s*([@.])\s*")
_LENIENT: Final = re.compile(rf"""({_QUOTED}|[^\s"<>@(),;:\\]+)@([a-z0-9_](?:[a-z0-9_.\-]*[a-z0-9])?)""")
_MEMBER_CHARACTERS: Final = 4000


def _members(header: str) -> Iterator[_Member]:
    member, at, do_comments_close = _Member([]), 0, True
    while piece := _PIECE.match(header, at):
        at = piece.end()
        match piece.lastgroup:
            case "end":
                yield member
                member = _Member([])
            case "inside":
                member.inside = piece[0][1:-1]
            case "group":
                member.words.clear()
            case "comment" if do_comments_close:
                end = _comment_end(header, at)
                do_comments_close = end is not None
                member.comment, at = (header[at : end - 1], end) if end else ("", at)
            case _:
                member.words.append(piece[0])
    yield member


def _comment_end(header: str, at: int) -> int | None:
    depth = 1
    for turn in _COMMENT_TURN.finditer(header, at):
        depth += (turn[0] == "(") - (turn[0] == ")")
        if not depth:
            return turn.end()
    return None


def _mailbox(member: _Member) -> Mailbox | None:
    words = "".join(member.words)[:_MEMBER_CHARACTERS].strip()
    if member.inside is not None:
        name, address = words, member.inside.strip()
    else:
        name, address = _name_and_address(words)
    addr_spec = _addr_spec(address)
    if addr_spec is None:
        return None
    return Mailbox(_readable_name(name or member.comment[:_MEMBER_CHARACTERS]), addr_spec)


def _name_and_address(words: str) -> tuple[str, str]:
    """Split a member without angle brackets: all of it is the address, or its last word with an @."""
    if _addr_spec(words) is not None:
        return "", words
    candidates = [word for word in words.split() if "@" in word]
    if not candidates:
        return "", ""
    name = words.replace(candidates[-1], "", 1)
    return name, candidates[-1].strip("<>")


def _addr_spec(text: str) -> str | None:
    if text.startswith("@") and ":" in text:  # an obsolete route (RFC 5322 §4.4)
        text = text.partition(":")[2]
    if len(text) > 2 * MAX_ADDRESS_OCTETS:
        return None
    text = _SPACE_AROUND.sub(r"\1", text)
    try:
        return normalise(text)
    except AddressError:
        return _lenient(text.lower())


def _lenient(text: str) -> str | None:
    """Keep what others write though nobody should: quoted local parts, double dots, domains without a dot."""
    found = _LENIENT.fullmatch(text)
    if not found or not text.isascii() or not text.isprintable() or ".." in found[2]:
        return None
    local_part = _unquoted(found[1])
    if len(local_part) > MAX_LOCAL_PART_OCTETS or len(text) > MAX_ADDRESS_OCTETS:
        return None
    return f"{_quoted_if_needed(local_part)}@{found[2]}"


def _quoted_if_needed(local_part: str) -> str:
    if _DOT_ATOM.fullmatch(local_part):
        return local_part
    return '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _readable_name(name: str) -> str:
    return clean_name(decode_words(_QUOTED_STRING.sub(lambda quoted: _unquoted(quoted[0]), name)))


def _unquoted(text: str) -> str:
    if text[:1] != '"':
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
