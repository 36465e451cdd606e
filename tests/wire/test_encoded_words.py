import time
from email.header import decode_header, make_header
from encodings.aliases import aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.charsets import decode, known_charset
from postroom.wire.encoded_words import decode_words, encode


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?Ana_P=C4=83un?=", "Ana Păun"),
        ("=?UTF-8?B?xJ4=?= and", "Ğ and"),
        ("=?utf-8?b?xA==?= =?utf-8?b?ng==?=", "Ğ"),
        ("=?iso-8859-1?q?a?= =?utf-8?q?b?=", "ab"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?utf-8*en?q?b?=", "b"),
        ("=?zip?b?eJw=?=", "x\u0153"),
        ("=?utf-7?q?+ADw-b+AD4-?=", "+ADw-b+AD4-"),
        ("=?utf-8?b?xJ4?=", "Ğ"),
        ("=?utf-8?b?A?=", ""),
        ("=?utf-8?x?b?=", "=?utf-8?x?b?="),
        ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        ("=?us-ascii?q?=C3=A9?=", "é"),
        ("=?iso-8859-1?q?=80?=", "€"),
    ],
)
def test_encoded_words_become_readable(header: str, text: str) -> None:
    assert decode_words(header) == text


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_what_is_encoded_reads_back_here_and_elsewhere(text: str) -> None:
    words = encode(text)
    assert all(len(word) <= 75 and word.isascii() for word in words)
    assert decode_words(" ".join(words)) == text
    assert str(make_header(decode_header("\n ".join(words)))) == text


@given(st.text() | st.text("=?utf-8bqQ? _*\x00AZ"))
def test_any_header_is_decoded_without_exception(text: str) -> None:
    assert isinstance(decode_words(text), str)


@given(
    st.binary(), st.text() | st.sampled_from(["zip", "idna", "utf-16", "utf-7", "hz", "iso-2022-kr", "x\0y"])
)
def test_any_octets_in_any_charset_become_text(octets: bytes, charset: str | None) -> None:
    assert isinstance(decode(octets, charset), str)


@pytest.mark.parametrize(
    "charset", ["zip", "idna", "punycode", "unicode_escape", "utf-7", "rot13", "a\0b", "", None]
)
def test_what_is_no_charset_is_not_used(charset: str | None) -> None:
    assert known_charset(charset) is None


@pytest.mark.parametrize(
    "charset", ["UTF-8", "utf8", "ISO-8859-2", "Windows-1250", "ks_c_5601-1987", "Shift_JIS", "csISO2022JP"]
)
def test_the_charsets_of_real_mail_are_known(charset: str | None) -> None:
    assert known_charset(charset)


@pytest.mark.parametrize(
    "hostile",
    ["=?utf-8?q?a?= " * 20_000, "=?" * 150_000, "=?a?b?" * 50_000, "=?a\0?q?x?= =?b?q?x?= " * 9_000],
)
def test_hostile_headers_take_no_time(hostile: str) -> None:
    started = time.process_time()
    decode_words(hostile)
    assert time.process_time() - started < 1


def test_every_charset_that_is_known_can_be_decoded() -> None:
    names = [
        *aliases,
        *(f"iso-8859-{number}" for number in range(20)),
        *(f"cp{number}" for number in range(1300)),
    ]
    for name in filter(known_charset, names):
        assert isinstance(decode(b"\xff\x00 a", name), str)
