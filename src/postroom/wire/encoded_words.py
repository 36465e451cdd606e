"""RFC 2047 words: text in headers beyond ASCII."""

import binascii
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from postroom.wire.charsets import decode

_WORD: Final = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?]*)\?=")
_PAYLOAD_OCTETS: Final = 45  # 60 characters of base64; with =?utf-8?b?…?= below the 75 allowed
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]+")


def encode(text: str, *, taken: int = 0) -> list[str]:
    """Write text as encoded words of at most 75 characters; they are joined by a space or a fold.

    No character is cut in two (RFC 2047 §5). `taken` is how much of its line the first word finds in use.
    """
    return [
        f"=?utf-8?b?{binascii.b2a_base64(piece, newline=False).decode()}?=" for piece in _pieces(text, taken)
    ]


def _pieces(text: str, taken: int) -> Iterator[bytes]:
    octets = text.encode("utf-8", "replace")
    start, room = 0, max(_PAYLOAD_OCTETS - taken, 6)
    while start < len(octets):
        end, room = min(start + room, len(octets)), _PAYLOAD_OCTETS
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        yield octets[start:end]
        start = end


def decode_words(text: str) -> str:
    """Make the encoded words in a header value readable; what is no encoded word stays as it is.

    Words that follow each other in one charset are joined before they are decoded, because senders
    cut characters in two. Never raises; takes time in proportion to the length.
    """
    if "=?" not in text:
        return text
    return "".join(
        _text(b"".join(octets for _, octets in run), charset)
        for charset, run in groupby(_scan(text), key=lambda found: found[0])
    )


def _scan(text: str) -> Iterator[tuple[str | None, bytes]]:
    """Yield (charset, octets) for each encoded word and (None, UTF-8 octets) for what stands between."""
    at = 0
    for word in _WORD.finditer(text):
        between = text[at : word.start()]
        if between and not (at and between.isspace()):
            yield None, between.encode("utf-8", "surrogatepass")
        yield word[1].lower(), _octets(word[2], word[3])
        at = word.end()
    yield None, text[at:].encode("utf-8", "surrogatepass")


def _text(octets: bytes, charset: str | None) -> str:
    return octets.decode("utf-8", "surrogatepass") if charset is None else decode(octets, charset)


def _octets(encoding: str, payload: str) -> bytes:
    if encoding in "qQ":
        return binascii.a2b_qp(payload.encode("utf-8", "replace"), header=True)
    letters = _NOT_BASE64.sub("", payload)
    letters = letters[:-1] if len(letters) % 4 == 1 else letters
    return binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
