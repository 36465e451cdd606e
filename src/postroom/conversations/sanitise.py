"""HTML from people and from outside becomes HTML that can be shown: an allow-list, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import nh3
from django.utils.html import escape
from inscriptis import get_text  # type: ignore[import-untyped]
from inscriptis.css_profiles import CSS_PROFILES  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]

from postroom.wire.html_text import text_of_html

_TAGS = """
a abbr b blockquote br caption center code col colgroup dd del div dl dt em font h1 h2 h3 h4 h5 h6 hr i img
ins li mark ol p pre q s small span strike strong sub sup table tbody td tfoot th thead tr tt u ul
"""
_ATTRIBUTES = {
    "*": {"style", "title", "dir", "lang", "align"},
    "a": {"href", "name"},
    "img": {"src", "alt", "width", "height"},
    "blockquote": {"cite", "type"},
    "font": {"color", "size", "face"},
    "ol": {"start", "type"},
    "td": {"colspan", "rowspan", "valign", "width", "bgcolor"},
    "th": {"colspan", "rowspan", "valign", "width", "bgcolor", "scope"},
    "table": {"border", "cellpadding", "cellspacing", "width", "bgcolor"},
    "tr": {"valign", "bgcolor"},
    "col": {"width", "span"},
}
# Nothing that positions, hides, loads or animates.
_STYLES = """
background-color border border-bottom border-collapse border-color border-left border-radius border-right
border-style border-top border-width color direction font-family font-size font-style font-variant
font-weight height letter-spacing line-height list-style-type margin margin-bottom margin-left margin-right
margin-top max-width padding padding-bottom padding-left padding-right padding-top text-align
text-decoration text-indent text-transform vertical-align white-space width word-break
"""
_SILENT_TAGS = {
    "script",
    "style",
    "title",
    "template",
    "noscript",
    "iframe",
    "object",
    "svg",
    "math",
    "textarea",
}
_URL_SCHEMES = {"http", "https", "mailto", "tel", "cid"}
# A browser would look for anything else here, in our own pages: also for https:page, without slashes.
_LEADS_ELSEWHERE = re.compile(r"https?:[/\\]{2}|mailto:|tel:|cid:|#", re.IGNORECASE)
_PASSED_OVER_IN_URLS = re.compile(r"^[\x00-\x20]+|[\t\r\n]")


AttributeFilter = Callable[[str, str, str], str | None]
"""Of tag, attribute and value: the value to keep, or None for none."""


def _not_to_our_pages(_: str, attribute: str, value: str) -> str | None:
    if attribute not in ("href", "src"):
        return value
    return value if _LEADS_ELSEWHERE.match(_PASSED_OVER_IN_URLS.sub("", value)) else None


def cleaner(each: AttributeFilter, more_schemes: AbstractSet[str] = frozenset()) -> nh3.Cleaner:
    """What lets through the allow-list alone, and asks `each` about every attribute that is on it."""
    return nh3.Cleaner(
        tags=set(_TAGS.split()),
        clean_content_tags=_SILENT_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_URL_SCHEMES | more_schemes,
        attribute_filter=each,
        filter_style_properties=set(_STYLES.split()),
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )


_cleaner = cleaner(_not_to_our_pages)
_DEEPEST = 200  # below this libxml2 leaves text out
_MOST_NESTABLE = (
    10_000  # cleaning takes quadratic time in the depth: a second here, minutes at ten times as many
)
_NESTABLE = re.compile(r"<(?!/|!|\?|(?:br|col|dd|dt|hr|img|li|p|tbody|td|th|tr)\b)[a-z]", re.IGNORECASE)
_ELEMENT = re.compile(r"<(/?)(?!br\b|col\b|hr\b|img\b)[a-z]")
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def clean_html(html: str) -> str:
    """The harmless part of some HTML. Images stay; whether one loads is up to the page.

    HTML that is nested beyond all reason becomes its text.
    """
    html = showable(html)
    if is_nested_beyond_reason(html):
        return html_of(text_of_html(html))
    return _cleaner.clean(html).strip()


def is_nested_beyond_reason(html: str) -> bool:
    """Would cleaning it take longer than a second?"""
    return sum(1 for _ in _NESTABLE.finditer(html)) > _MOST_NESTABLE


def showable(text: str) -> str:
    """The text without characters that no database or page takes: controls and lone surrogates."""
    return _UNSHOWABLE.sub("", text)


def html_of(text: str) -> str:
    """Plain text as escaped paragraphs; single line ends become <br>."""
    lines = showable(text).replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    paragraphs = re.split(r"\n[ \t]*\n\s*", lines) if lines.strip() else []
    return "\n".join(
        "<p>{}</p>".format(escape(paragraph).replace("\n", "<br>\n")) for paragraph in paragraphs
    )


def text_of(html: str) -> str:
    """Sanitised HTML as plain text with its links, lists and tables, for the text part and for search."""
    if not html.strip():
        return ""
    if _depth(html) > _DEEPEST:
        return text_of_html(html).strip()
    text: str = get_text(f"<div>{html}</div>", ParserConfig(CSS_PROFILES["strict"], display_links=True))
    return text.strip()


def _depth(html: str) -> int:
    """How deep balanced HTML is nested."""
    depth = deepest = 0
    for element in _ELEMENT.finditer(html):
        depth += -1 if element.group(1) else 1
        deepest = max(deepest, depth)
    return deepest
