"""What a foreign text is cut to before it is stored or shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.characters import shortened


@given(st.text(), st.integers(min_value=3, max_value=40))
def test_what_is_shortened_is_one_line_of_so_many_octets(text: str, octets: int) -> None:
    short = shortened(text, octets)
    assert len(short.encode()) <= octets
    assert not set(short) & set("\n\r\0\x1b")


def test_what_is_short_stays_whole_and_what_is_cut_says_so() -> None:
    assert shortened("é" * 250) == "é" * 250
    assert shortened("é" * 251) == "é" * 248 + "…"
