"""Secrets at rest: sealed with the newest key, opened with any that is there."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from postroom.workspaces.sealed import SealBroken, opened_by, reseal, seal, unseal

KEYS = {number: bytes([number]) * 32 for number in (1, 2, 3)}


@pytest.fixture
def keys(settings: Any) -> Any:
    settings.POSTROOM_SEALING_KEYS = [KEYS[1]]
    return settings


@given(st.text(max_size=200))
def test_what_is_sealed_opens_to_the_same_and_shows_nothing(text: str) -> None:
    sealed = seal(text)
    assert unseal(sealed) == text
    assert len(text) < 4 or text not in sealed


def test_an_older_key_still_opens_what_it_sealed(keys: Any) -> None:
    sealed = seal("hunter2")
    keys.POSTROOM_SEALING_KEYS = [KEYS[2], KEYS[1]]
    assert unseal(sealed) == "hunter2"
    assert opened_by(seal("new"), KEYS) == 2


def test_a_key_that_is_gone_is_told_with_the_remedy(keys: Any) -> None:
    sealed = seal("hunter2")
    keys.POSTROOM_SEALING_KEYS = [KEYS[2]]
    with pytest.raises(SealBroken, match=r"secret\.key again, or enter the secret anew"):
        unseal(sealed)


def test_sealing_anew_takes_the_highest_number_whatever_the_order(keys: Any) -> None:
    sealed = seal("hunter2")
    anew = reseal(sealed, {2: KEYS[2], 3: KEYS[3], 1: KEYS[1]})
    assert (opened_by(sealed, KEYS), opened_by(anew, KEYS)) == (1, 3)
    keys.POSTROOM_SEALING_KEYS = [KEYS[3]]
    assert unseal(anew) == "hunter2"


@pytest.mark.parametrize(
    "sealed",
    ["", "not sealed at all", Fernet(Fernet.generate_key()).encrypt(b"x").decode()],
    ids=["empty", "bare", "foreign"],
)
def test_what_no_key_opens_is_opened_by_none(sealed: str) -> None:
    assert opened_by(sealed, KEYS) is None
    with pytest.raises(SealBroken):
        reseal(sealed, KEYS)
