import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.link_tokens import MAC_OCTETS, DownloadLink, LinkSigner, UnfollowLink
from postroom.wire.tokens import TokenKeys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SIGNER = LinkSigner(TokenKeys({1: OLD}))
NUMBERS = st.integers(0, 2**63 - 1)


@given(NUMBERS, NUMBERS)
def test_a_link_is_recognised_for_what_it_is(first: int, second: int) -> None:
    assert SIGNER.recognise(SIGNER.download(first, second)) == DownloadLink(first, second)
    assert SIGNER.recognise(SIGNER.unfollow(first)) == UnfollowLink(first)


@given(NUMBERS)
def test_a_token_can_stand_in_a_path_as_it_is(number: int) -> None:
    allowed = set(string.ascii_letters + string.digits + "-_")
    assert set(SIGNER.download(number, number)) <= allowed


def test_nobody_can_guess_one() -> None:
    assert MAC_OCTETS * 8 >= 128


@given(st.integers(0, 40), st.sampled_from(string.ascii_letters + string.digits + "-_=%"))
def test_no_changed_token_is_recognised(place: int, letter: str) -> None:
    token = SIGNER.download(7, 1_800_000_000)
    changed = token[:place] + letter + token[place + 1 :]
    assert changed == token or SIGNER.recognise(changed) is None


@given(st.text())
def test_any_text_is_nothing(text: str) -> None:
    assert SIGNER.recognise(text) is None


@pytest.mark.parametrize("token", [SIGNER.download(7, 9), SIGNER.unfollow(7)])
def test_a_link_outlives_a_new_key_and_not_the_end_of_its_own(token: str) -> None:
    assert LinkSigner(TokenKeys({1: OLD, 2: NEW})).recognise(token) is not None
    assert LinkSigner(TokenKeys({2: NEW})).recognise(token) is None


def test_the_newest_key_signs() -> None:
    assert LinkSigner(TokenKeys({2: NEW})).recognise(LinkSigner(TokenKeys({1: OLD, 2: NEW})).unfollow(3))
