from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from postroom.wire.headers import DEFAULT_LIMITS, read_header_block
from postroom.wire.identity import identity_of, retry_identities

WORDS = st.text("abcdefghij klmno", min_size=1, max_size=12).map(str.strip).filter(bool)
NAMED = "Message-ID: <one@example.org>\r\n"
DATED = "Date: Mon, 02 Mar 2026 12:00:00 +0000\r\n"
BOTH = NAMED + DATED


def identity(octets: bytes) -> str | None:
    headers, body = read_header_block(octets, 0, len(octets), limits=DEFAULT_LIMITS, defects=[])
    return identity_of(octets, headers, body)


def letter(claims: str = BOTH, *, subject: str = "Lamps", body: str = "Good morning", to: str = "x") -> bytes:
    return f"From: ben@example.org\r\nTo: {to}\r\n{claims}Subject: {subject}\r\n\r\n{body}\r\n".encode()


@given(
    claims=st.sampled_from([BOTH, NAMED, DATED]),
    one=st.tuples(WORDS, WORDS),
    other=st.tuples(WORDS, WORDS),
)
def test_another_subject_or_body_is_another_mail(
    claims: str, one: tuple[str, str], other: tuple[str, str]
) -> None:
    assume(one != other)
    first, second = (letter(claims, subject=subject, body=body) for subject, body in (one, other))
    assert identity(first) != identity(second)
    assert identity(first) is not None


@given(text=WORDS, other=WORDS, claims=st.sampled_from([BOTH, NAMED, DATED]))
def test_another_text_without_an_empty_line_before_it_is_another_mail(
    text: str, other: str, claims: str
) -> None:
    assume(text != other)
    assert identity(f"{claims}{text}\r\n".encode()) != identity(f"{claims}{other}\r\n".encode())


@pytest.mark.parametrize("claims", [BOTH, NAMED, DATED])
def test_the_same_mail_is_known_again_however_it_came(claims: str) -> None:
    octets = letter(claims)
    assert identity(
        b"Received: from a\r\n by b\r\nX-Spam: no\r\nReturn-Path: <x@y>\r\n" + octets
    ) == identity(octets)
    assert identity(octets.replace(b"\r\n", b"\n")) == identity(octets)
    assert identity(octets + b"\r\n") == identity(octets)


@pytest.mark.parametrize("claims", [BOTH, NAMED, DATED])
def test_who_wrote_it_counts(claims: str) -> None:
    assert identity(letter(claims)) != identity(letter(claims).replace(b"ben@", b"carla@"))


def test_without_a_message_id_every_header_counts_that_relays_leave_alone() -> None:
    assert identity(letter(DATED, to="y")) != identity(letter(DATED))
    assert identity(letter(NAMED, to="y")) == identity(letter(NAMED))


@pytest.mark.parametrize("claims", ["", "Date: \r\n", "Message-ID: no brackets\r\n"])
def test_a_mail_with_neither_message_id_nor_date_has_no_identity(claims: str) -> None:
    assert identity(letter(claims)) is None
    assert identity(b"only text\r\n") is None
    assert identity(b"") is None


@given(octets=st.binary(max_size=300))
def test_any_octets_have_an_identity_or_none(octets: bytes) -> None:
    found = identity(octets)
    assert found is None or len(found) == 64


@given(octets=st.binary(max_size=60), peer=st.text(max_size=20), period=st.integers(0, 10**9))
def test_a_retry_is_known_in_the_next_period_and_from_nobody_else(
    octets: bytes, peer: str, period: int
) -> None:
    now, before = retry_identities(octets, peer, period)
    assert now != before
    assert retry_identities(octets, peer, period + 1)[1] == now
    assert now not in retry_identities(octets, peer + "1", period)
    assert now not in retry_identities(octets + b"1", peer, period)
    assert now not in retry_identities(octets, peer, period + 2)
