import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.address import AddressError
from postroom.wire.threads import message_ids, mint_message_id, references


def test_a_message_id_is_minted() -> None:
    assert mint_message_id("0af3", "demo.example") == "<0af3@demo.example>"


@pytest.mark.parametrize(
    ("unique", "domain"),
    [
        ("a b", "demo.example"),
        ("", "demo.example"),
        ("a", "x>\r\nBcc: b"),
        ("a<", "x"),
        ("a" * 300, "demo.example"),
    ],
)
def test_a_message_id_that_would_not_be_one_is_refused(unique: str, domain: str) -> None:
    with pytest.raises(AddressError, match="no Message-ID"):
        mint_message_id(unique, domain)


def test_the_last_identifiers_are_found_in_order_and_junk_is_passed_over() -> None:
    header = "<a@x> (comment) <b c@x> junk <d@x>\t<<e@x>> <f\x00@x> <g@x"
    assert message_ids(header) == ["<a@x>", "<d@x>", "<e@x>"]
    assert message_ids(header, limit=1) == ["<e@x>"]


def test_an_identifier_that_is_too_long_is_passed_over() -> None:
    assert message_ids(f"<{'a' * 997}> <{'b' * 996}>") == [f"<{'b' * 996}>"]


@pytest.mark.parametrize("hostile", ["<" * 300_000, "<a" * 150_000, "<" + "a" * 300_000, "<a>" * 100_000])
def test_hostile_references_take_no_time(hostile: str) -> None:
    started = time.process_time()
    message_ids(hostile)
    assert time.process_time() - started < 1


def test_references_name_three_ancestors_and_the_mail_itself() -> None:
    assert references(["<1@x>", "<2@x>", "<3@x>", "<4@x>"], "<own@x>") == "<2@x> <3@x> <4@x> <own@x>"
    assert references([], "<own@x>") == "<own@x>"
    assert references(["<own@x>", "<1@x>", "<1@x>"], "<own@x>") == "<1@x> <own@x>"


@given(st.text())
def test_whatever_is_found_is_a_bracketed_word(text: str) -> None:
    for found in message_ids(text):
        assert found in text
        assert not any(c.isspace() for c in found)


@given(st.lists(st.uuids().map(lambda u: f"<{u.hex}@demo.example>"), unique=True))
def test_references_read_back(ids: list[str]) -> None:
    assert message_ids(references(ids, "<own@x>")) == [*ids[-3:], "<own@x>"]
