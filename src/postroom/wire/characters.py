"""Characters that may not reach a header, a log line or a page."""

import re
from typing import Final

# C0, DEL, C1, line and paragraph separators, bidirectional marks, overrides and isolates,
# the zero-width space, the byte order mark, and lone surrogates (which no codec can write).
_FORBIDDEN: Final = (
    "\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff\\ud800-\\udfff"
)
_ONE_FORBIDDEN: Final = re.compile(f"[{_FORBIDDEN}]")
_SPACES_AND_FORBIDDEN: Final = re.compile(f"[ {_FORBIDDEN}]+")
_CONTROL: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_BROKEN_TEXT: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f\\ud800-\\udfff]")


def one_line(text: str) -> str:
    """Make text fit for one header line: each run of spaces and control characters becomes one space.

    Bidirectional overrides count as control characters, so that `exe.fdp` cannot show as `pdf.exe`.
    """
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip(" ")
    return _SPACES_AND_FORBIDDEN.sub(" ", text).strip(" ")


def shortened(text: str, octets: int = 500) -> str:
    """Make foreign text one line of at most so many octets in UTF-8; one that was longer ends in "…"."""
    line = one_line(text)
    written = line.encode("utf-8")
    if len(written) <= octets:
        return line
    return f"{written[: octets - 3].decode('utf-8', 'ignore')}…"


def visible(text: str) -> str:
    """Replace each control character of a foreign line by U+FFFD, a tab by a space; nothing else changes."""
    if text.isascii() and text.isprintable():
        return text
    return _ONE_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", " "))


def without_controls(text: str) -> str:
    """Put a space for each control character of a foreign header; marks of the direction of writing stay."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(" ", text)


def is_visible(text: str) -> bool:
    """Whether text has no control character and nothing that turns the direction of writing."""
    return _ONE_FORBIDDEN.search(text) is None


def readable(text: str) -> str:
    """Take out of a body what no person reads: NUL and other controls but tab and line ends."""
    if text.isascii() and text.isprintable():
        return text
    return _BROKEN_TEXT.sub("", text)
