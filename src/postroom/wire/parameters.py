"""Parameters of Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2231)."""

import re
from collections.abc import Iterable, MutableSequence
from itertools import islice
from typing import Final
from urllib.parse import unquote_to_bytes

from postroom.wire.characters import one_line
from postroom.wire.charsets import decode
from postroom.wire.encoded_words import decode_words

# Pairs of backslash and character are read alike inside and outside quotes, so that a quote that is
# never closed is looked for once and not again at every further quote.
_PIECE: Final = re.compile(r"""(?:[^";\\]++|\\.|"(?:[^"\\]++|\\.)*+"|["\\])++""", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_SECTION: Final = re.compile(r"([^*]+)(?:\*([0-9]{1,4}))?(\*)?")


def split_parameters(value: str, limit: int, defects: MutableSequence[str]) -> tuple[str, dict[str, str]]:
    """Split a header value into what stands before the first semicolon and its parameters, in lower case.

    Sections and charsets of RFC 2231 are put together and decoded; so are RFC 2047 words, though nobody
    should write them here. Of parameters that come twice the first counts; beyond `limit` none is read.
    """
    pieces = (piece[0] for piece in _PIECE.finditer(value))
    main = next(pieces, "")
    written = list(islice(pieces, limit + 1))
    if len(written) > limit:
        defects.append("too-many-parameters")
    return one_line(main).lower(), _joined(written[:limit])


def _joined(pieces: Iterable[str]) -> dict[str, str]:
    sections: dict[str, dict[int, tuple[bool, str]]] = {}
    for piece in pieces:
        name, _, text = piece.partition("=")
        found = _SECTION.fullmatch(name.strip().lower())
        if found:
            number, is_encoded = int(found[2] or 0), found[3] is not None
            sections.setdefault(found[1], {}).setdefault(number, (is_encoded, _unquoted(text.strip())))
    return {name: _value(found) for name, found in sections.items()}


def _value(sections: dict[int, tuple[bool, str]]) -> str:
    if not any(is_encoded for is_encoded, _ in sections.values()):
        return one_line(decode_words("".join(sections[number][1] for number in sorted(sections))))
    charset, octets = "", b""
    for number in sorted(sections):
        is_encoded, text = sections[number]
        if is_encoded and not charset and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        octets += unquote_to_bytes(text) if is_encoded else text.encode("utf-8", "replace")
    return one_line(decode(octets, charset))


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return _ESCAPED.sub(r"\1", text[1:-1])
    return text.strip('"')
