"""HTML from people and from outside becomes HTML that can be shown: an allow-list, nothing else."""

from __future__ import annotations

import re

import nh3
from django.utils.html import escape
from inscriptis import get_text
from inscriptis.model.config import ParserConfig

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
_cleaner = nh3.Cleaner(
    tags=set(_TAGS.split()),
    clean_content_tags=_SILENT_TAGS,
    attributes=_ATTRIBUTES,
    url_schemes=_URL_SCHEMES,
    filter_style_properties=set(_STYLES.split()),
    link_rel="noopener noreferrer nofollow",
    strip_comments=True,
)
_TOO_DEEP = 200
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def clean_html(html: str) -> str:
    """The harmless part of some HTML. Images stay; whether one loads is up to the page."""
    return _cleaner.clean(showable(html)).strip()


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
    if _is_too_deep(html):
        return _stripped(html)
    return get_text(f"<div>{html}</div>", ParserConfig(display_links=True)).strip()


def _is_too_deep(html: str) -> bool:
    """Would walking the tree exhaust the stack?"""
    depth = deepest = 0
    for closing in re.finditer(r"<(/?)[a-z]", html):
        depth += -1 if closing.group(1) else 1
        deepest = max(deepest, depth)
    return deepest > _TOO_DEEP


def _stripped(html: str) -> str:
    bare: str = nh3.clean(html, tags=set())
    return bare.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&").strip()
