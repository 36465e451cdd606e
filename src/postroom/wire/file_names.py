"""Names of attached files: what may be shown, and how a header carries it."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

from postroom.wire.characters import one_line

MAX_CHARACTERS: Final = 200
_NOT_AT_ENDS: Final = (
    " .\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_PATH: Final = re.compile(r".*[/\\]", re.DOTALL)
_NOT_IN_NAMES: Final = re.compile(r'[<>:"|?*]')
_PLAIN: Final = re.compile(r"[A-Za-z0-9 !#$&+,.=@^_`{}~()\[\]-]{1,60}")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9 !#$&+,.=@^_`{}~()\[\]-]+")
_FALLBACK_CHARACTERS: Final = 60
_LONGEST_ENDING: Final = 20
_SECTION_OCTETS: Final = 60


def clean_file_name(name: str) -> str:
    """Make a foreign file name fit to be shown and saved: no path, no control or direction characters.

    At most 200 characters, the ending kept. Empty if nothing is left.
    """
    name = _NOT_IN_NAMES.sub("_", _PATH.sub("", one_line(name))).strip(_NOT_AT_ENDS)
    if len(name) <= MAX_CHARACTERS:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 20:
        return name[:MAX_CHARACTERS].rstrip(_NOT_AT_ENDS)
    return f"{stem[: MAX_CHARACTERS - len(ending) - 1]}.{ending}"


def file_name_parameter(name: str) -> list[str]:
    """Write the filename parameter of Content-Disposition, in sections if it is long (RFC 2231 §3)."""
    if _PLAIN.fullmatch(name):
        return [f'filename="{name}"']
    sections = list(_sections(quote(name.encode("utf-8", "replace"), safe="")))
    if len(sections) == 1:
        return [f"filename*=utf-8''{sections[0]}"]
    first = f"filename*0*=utf-8''{sections[0]}"
    return [first, *(f"filename*{number}*={text}" for number, text in enumerate(sections[1:], 1))]


def ascii_file_name(name: str) -> str:
    """The name as a program reads it that knows no RFC 2231: letters lose their accents, the rest is `_`.

    At most 60 characters, the ending kept, and nothing that has a meaning inside quotes; empty if the name
    can be written plainly anyway.
    """
    if not name or _PLAIN.fullmatch(name):
        return ""
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    stem, dot, ending = _NOT_PLAIN.sub("_", bare).rpartition(".")
    if not dot or len(ending) > _LONGEST_ENDING:
        stem, dot, ending = f"{stem}{dot}{ending}", "", ""
    return f"{stem.strip()[: _FALLBACK_CHARACTERS - len(ending) - 1] or 'file'}{dot}{ending}"


def _sections(text: str) -> list[str]:
    """Cut percent-encoded text without cutting an escape in two."""
    return re.findall(rf"(?:%..|[^%]){{1,{_SECTION_OCTETS // 3}}}", text)
