"""Makes the web addresses that people write in a message clickable."""

from __future__ import annotations

import re

_TAG = re.compile(r"""(<[^<>"]*(?:"[^"]*"[^<>"]*)*>)""")
_LINK = re.compile(r"<(/?)a\b", re.IGNORECASE)
# The text is escaped, so what ends an address may be an entity.
_URL = re.compile(r"\bhttps?://(?:(?!&(?:lt|gt|quot|#39|#x27|nbsp);)[^\s<>\"'\xa0])+", re.IGNORECASE)
_AFTER = re.compile(r"[.,;:!?*_]+\Z")


def link_addresses(body: str) -> str:
    """Sanitised HTML with links around the http(s) addresses in its text; what is a link already stays."""
    pieces, depth = [], 0
    for piece in _TAG.split(body):
        if link := _LINK.match(piece):
            depth = max(0, depth - 1) if link[1] else depth + 1
        is_text = depth == 0 and not piece.startswith("<")
        pieces.append(_URL.sub(_linked, piece) if is_text else piece)
    return "".join(pieces)


def _linked(found: re.Match[str]) -> str:
    url = _without_what_follows(found[0])
    return f'<a href="{url}" rel="noopener noreferrer nofollow">{url}</a>{found[0][len(url) :]}'


def _without_what_follows(text: str) -> str:
    """Without the punctuation of the sentence, and without a bracket that was opened before the address."""
    url = text
    while True:
        shorter = _AFTER.sub("", url) if not url.endswith(";") or not _ENTITY_AT_END.search(url) else url
        if shorter.endswith(")") and shorter.count(")") > shorter.count("("):
            shorter = shorter[:-1]
        if shorter == url:
            return url
        url = shorter


_ENTITY_AT_END = re.compile(r"&(?:[a-z]+|#\w+);\Z", re.IGNORECASE)
