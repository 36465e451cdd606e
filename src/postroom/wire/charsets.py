"""Octets to text by the charset a mail names, whatever it names."""

import re
from encodings.aliases import aliases
from typing import Final

_NOT_A_NAME: Final = re.compile("[^a-z0-9]+")
# Only these are ever looked up: others that Python knows are no charsets (zip, idna, unicode_escape)
# or can smuggle markup past a filter (utf_7).
_TRUSTED: Final = frozenset(
    [
        *(
            "ascii",
            "utf_8",
            "utf_8_sig",
            "utf_16",
            "utf_16_be",
            "utf_16_le",
            "utf_32",
            "utf_32_be",
            "utf_32_le",
        ),
        *("latin_1", "tis_620", "koi8_r", "koi8_u", "koi8_t", "kz1048", "ptcp154"),
        *(f"iso8859_{number}" for number in (*range(1, 12), *range(13, 17))),
        *(
            f"cp{number}"
            for number in (437, 720, 737, 775, 850, 852, 855, 857, 858, *range(860, 867), 869, 874)
        ),
        *(f"cp{number}" for number in (932, 936, 949, 950, *range(1250, 1259))),
        *("gb2312", "gbk", "gb18030", "hz", "big5", "big5hkscs"),
        *("euc_jp", "euc_jis_2004", "euc_kr", "johab", "shift_jis", "shift_jis_2004"),
        *("iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_3", "iso2022_jp_2004", "iso2022_jp_ext"),
        *("iso2022_kr", "mac_roman", "mac_cyrillic", "mac_greek", "mac_latin2", "mac_turkish", "mac_iceland"),
    ]
)
# What mail programs write for charsets that Python calls otherwise, or that a larger set contains.
_BETTER_KNOWN_AS: Final = {
    "ks_c_5601_1987": "cp949",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso_8859_8_i": "iso8859_8",
    "x_sjis": "cp932",
    "shift_jis": "cp932",
    "unicode_1_1_utf_8": "utf_8",
    "utf8mb4": "utf_8",
    "x_gbk": "gb18030",
}


def decode(octets: bytes, charset: str | None) -> str:
    """Read octets as text; never raises, at worst there are replacement characters.

    A charset that is None, unknown or contradicted by the octets gives way to UTF-8, then to
    windows-1252, which contains the printable part of Latin-1.
    """
    known = known_charset(charset)
    for candidate in (known, "utf_8"):
        if candidate is None or (candidate == "ascii" and not octets.isascii()):
            continue
        try:
            return octets.decode(candidate)
        except ValueError:
            continue
    return octets.decode(known if known and known not in ("ascii", "utf_8") else "cp1252", "replace")


def known_charset(charset: str | None) -> str | None:
    """The codec to use for a charset name, or None if it names no charset that we trust."""
    name = _NOT_A_NAME.sub("_", (charset or "")[:60].lower()).strip("_")
    name = _BETTER_KNOWN_AS.get(name, name)
    codec = aliases.get(name, name)
    codec = _BETTER_KNOWN_AS.get(codec, codec)
    if codec in ("latin_1", "iso8859_1"):
        return "cp1252"
    return codec if codec in _TRUSTED else None
