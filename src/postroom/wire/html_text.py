"""HTML to plain text, in time proportional to its length: a last resort for reading, not for showing."""

import html
import re
import string
from collections.abc import Iterator
from typing import Final

_TAG: Final = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]{0,20})(?=[\s/>])[^<>]*>|<![^<>]*>|<\?[^<>]*>")
_COMMENT: Final = "<!--"
_UNSEEN_ELEMENTS: Final = frozenset(["script", "style", "head", "title", "template", "noscript", "svg"])
_LINE_BREAKS: Final = frozenset(["br", "tr", "li", "dt", "dd", "hr", "option"])
_PARAGRAPHS: Final = frozenset(
    ["p", "div", "table", "ul", "ol", "blockquote", "pre", "section", "article", "header", "footer", "body"]
    + [f"h{level}" for level in range(1, 7)]
)
_SPACE: Final = re.compile(r"[ \t\r\n\f\xa0]+")
_LONG_NUMBER: Final = re.compile(r"&#[xX]?[0-9a-fA-F]{8,};?")
# Lower case that keeps every position, which str.lower does not for all letters.
_LOWER: Final = {ord(letter): letter.lower() for letter in string.ascii_uppercase}
_BLANK_LINES: Final = re.compile(r"\n{3,}")


def text_of_html(markup: str) -> str:
    """Take the words out of HTML: elements become lines, scripts and styles vanish, entities are resolved."""
    # Numbers of any length would be turned into integers, which takes long or is refused.
    text = html.unescape(_LONG_NUMBER.sub("\N{REPLACEMENT CHARACTER}", "".join(_pieces(markup))))
    lines = (_SPACE.sub(" ", line).strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def _pieces(markup: str) -> Iterator[str]:
    at, unseen = 0, ""
    markup = _without_comments(markup)
    last_ends = _last_ends(markup)
    for tag in _TAG.finditer(markup):
        if not unseen:
            yield _SPACE.sub(" ", markup[at : tag.start()])
            yield _break(tag)
        at = tag.end()
        unseen = _still_unseen(tag, unseen, last_ends)
    if not unseen:
        yield _SPACE.sub(" ", markup[at:])


def _last_ends(markup: str) -> dict[str, int]:
    """Where each element that is not shown ends for the last time; -1 for one that never ends."""
    lower = markup.lower() if markup.isascii() else markup.translate(_LOWER)
    return {name: lower.rfind(f"</{name}") for name in _UNSEEN_ELEMENTS}


def _break(tag: re.Match[str]) -> str:
    name = (tag[1] or "").lower()
    if name in _LINE_BREAKS:
        return "\n" if not tag[0].startswith("</") else ""
    return "\n" if name in _PARAGRAPHS else ""


def _still_unseen(tag: re.Match[str], unseen: str, last_ends: dict[str, int]) -> str:
    """Return the element whose end is waited for. One that is never closed hides nothing."""
    name = (tag[1] or "").lower()
    is_end = tag[0].startswith("</")
    if unseen:
        return "" if is_end and name == unseen else unseen
    if is_end or name not in _UNSEEN_ELEMENTS or tag[0].endswith("/>"):
        return ""
    return name if last_ends[name] >= tag.end() else ""


def _without_comments(markup: str) -> str:
    kept, at = [], 0
    while (start := markup.find(_COMMENT, at)) >= 0:
        end = markup.find("-->", start + 2)
        if end < 0:
            break
        kept.append(markup[at:start])
        at = end + 3
    return "".join([*kept, markup[at:]])
