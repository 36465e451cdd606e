"""A header field that somebody else wrote against the rules, written anew: 7-bit, and in lines that fit."""

import re
from typing import Final
from urllib.parse import quote

from postroom.wire.address import parse_mailboxes
from postroom.wire.characters import without_controls
from postroom.wire.charsets import decode
from postroom.wire.header_lines import LINE_OCTETS, identifiers_line, text_line
from postroom.wire.parameters import split_parameters

_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
_UNFIT: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]|\r\n[ \t]+(?=\r\n)")
_MAILBOXES: Final = frozenset(
    ["from", "sender", "reply-to", "to", "cc", "resent-from", "resent-sender", "resent-to", "resent-cc"]
)
_IDENTIFIERS: Final = frozenset(["message-id", "in-reply-to", "references", "resent-message-id"])
_PARAMETERS: Final = frozenset(["content-type", "content-disposition"])
_PLAIN_VALUE: Final = re.compile(r"[ !#-\[\]-~]{0,900}")
_ENCODED_CHARACTERS: Final = 850


def needs_mending(field: bytes) -> bool:
    """Has a field (its lines with CRLF) an octet, a line or a fold that no header may have?

    Octets beyond ASCII and controls; lines of more than 998 octets (RFC 5322 §2.1.1); folded lines of white
    space alone (§3.2.2), which end the header block for some readers.
    """
    return _UNFIT.search(field) is not None or max(map(len, field.split(b"\r\n"))) > LINE_OCTETS


def mended(field: bytes) -> bytes:
    """Write the field anew, with what can be read of its value; b"" if there is nothing."""
    octets_of_name, _, octets = _FOLD.sub(b"", field).partition(b":")
    name = octets_of_name.strip().decode("ascii")
    value = without_controls(decode(octets, None)).strip()
    lines = _lines(name, value)
    return f"{lines}\r\n".encode("ascii") if lines else b""


def _lines(name: str, value: str) -> str:
    kind = name.lower()
    if kind in _MAILBOXES:
        mailboxes = [mailbox.header().decode("ascii") for mailbox in parse_mailboxes(value)]
        return f"{name}: " + ",\r\n ".join(mailboxes) if mailboxes else ""
    if kind in _IDENTIFIERS:
        return identifiers_line(name, value)
    return _with_parameters(name, value) if kind in _PARAMETERS else text_line(name, value)


def _with_parameters(name: str, value: str) -> str:
    """Write a type and its parameters, each on a line, beyond ASCII as RFC 2231 §4 has it."""
    main, parameters = split_parameters(value, 20, [])
    written = [_parameter(key, text) for key, text in parameters.items() if key.isascii()]
    return ";\r\n ".join([f"{name}: {main.encode('ascii', 'ignore').decode('ascii')[:200]}", *written])


def _parameter(key: str, text: str) -> str:
    if _PLAIN_VALUE.fullmatch(text):
        return f'{key[:40]}="{text}"'
    encoded = quote(text.encode("utf-8", "replace"), safe="")[:_ENCODED_CHARACTERS]
    return f"{key[:40]}*=utf-8''{re.sub('%.?$', '', encoded)}"
