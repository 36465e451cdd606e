import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.tokens import (
    ReplyToken,
    ReturnPathToken,
    Signer,
    TokenKeys,
    copy_mark,
    recognise,
    recognise_copy,
    sign,
    split_subaddress,
)

OLD = TokenKeys({1: b"o" * 32})
KEYS = TokenKeys({1: b"o" * 32, 2: b"n" * 32})
IDS = st.integers(0, 2**53)
TOKENS = st.builds(ReturnPathToken, IDS, st.integers(0, 500)) | st.builds(ReplyToken, IDS)


@given(TOKENS, st.integers(0, 2**40))
def test_what_is_signed_is_recognised_in_its_workspace_alone(
    token: ReturnPathToken | ReplyToken, workspace_id: int
) -> None:
    text = sign(token, KEYS, workspace_id)
    assert recognise(text, KEYS, workspace_id) == token
    assert recognise(text, KEYS, workspace_id + 1) is None


@given(TOKENS)
def test_a_token_is_a_short_lower_case_word(token: ReturnPathToken | ReplyToken) -> None:
    text = sign(token, KEYS, 1)
    assert text == text.lower()
    assert text.isalnum()
    assert len(f"bounce+{text}") <= 64


@given(TOKENS)
def test_case_is_folded_on_the_way_in(token: ReturnPathToken | ReplyToken) -> None:
    text = sign(token, KEYS, 1)
    assert recognise(text.upper(), KEYS, 1) == token
    assert recognise(text.title(), KEYS, 1) == token


@given(TOKENS, st.data())
def test_one_changed_letter_makes_it_nobodys(
    token: ReturnPathToken | ReplyToken, data: st.DataObject
) -> None:
    text = sign(token, KEYS, 1)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(
        st.sampled_from("abcdefghijklmnopqrstuvwxyz234567").filter(lambda new: new != text[at])
    )
    assert recognise(text[:at] + letter + text[at + 1 :], KEYS, 1) is None
    assert recognise_copy(text[:at] + letter + text[at + 1 :], KEYS, 1) is None


@given(st.text() | st.text("abcdefghijklmnopqrstuvwxyz234567=", max_size=64))
def test_any_other_text_is_no_token(text: str) -> None:
    assert recognise(text, KEYS, 1) is None
    assert recognise_copy(text, KEYS, 1) is None


def test_the_newest_key_signs_and_older_ones_still_verify() -> None:
    old = sign(ReplyToken(7), OLD, 1)
    new = sign(ReplyToken(7), KEYS, 1)
    assert old != new
    assert recognise(old, KEYS, 1) == ReplyToken(7)
    assert recognise(new, OLD, 1) is None


def test_a_copy_mark_names_its_email_and_is_no_address_token() -> None:
    mark = copy_mark(2**53, KEYS, 1)
    assert recognise_copy(mark, KEYS, 1) == 2**53
    assert recognise(mark, KEYS, 1) is None
    assert recognise_copy(sign(ReplyToken(5), KEYS, 1), KEYS, 1) is None
    assert recognise_copy(mark, KEYS, 2) is None


def test_a_signer_signs_the_same_words() -> None:
    signer = Signer(KEYS, 9)
    assert signer.return_path(5, 2) == sign(ReturnPathToken(5, 2), KEYS, 9)
    assert signer.reply(5) == sign(ReplyToken(5), KEYS, 9)
    assert signer.copy_mark(5) == copy_mark(5, KEYS, 9)


@pytest.mark.parametrize(
    "keys", [{}, {1: b""}, {1: b"short"}, {1: b"x" * 65}, {0: b"x" * 32}, {256: b"x" * 32}]
)
def test_keys_that_would_not_protect_are_refused(keys: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        TokenKeys(keys)


def test_a_negative_number_is_not_signed() -> None:
    with pytest.raises(ValueError, match="range"):
        sign(ReplyToken(-1), KEYS, 1)


@pytest.mark.parametrize(
    ("local_part", "parts"),
    [("sales", ("sales", None)), ("sales+abc", ("sales", "abc")), ("a+b+c", ("a", "b+c")), ("+x", ("", "x"))],
)
def test_a_subaddress_is_cut_at_the_first_plus_sign(local_part: str, parts: tuple[str, str | None]) -> None:
    assert split_subaddress(local_part) == parts
