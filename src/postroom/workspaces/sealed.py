"""Secrets at rest: what is stored in the database can only be read with a key that lies outside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

from postroom.workspaces import key_ring


class SealBroken(Exception):
    """None of our keys opens a stored secret; the message names the remedy."""


def seal(text: str) -> str:
    """Encrypt with the newest key; an empty text stays empty."""
    return _box(_keys()).encrypt(text.encode()).decode("ascii") if text else ""


def unseal(sealed: str) -> str:
    """Decrypt with whichever of our keys fits, also with one that was added since this process started.

    Raises SealBroken; the secret then has to be entered again.
    """
    if not sealed:
        return ""
    try:
        return _opened(sealed)
    except InvalidToken:
        raise SealBroken(
            "A stored secret was sealed with a key that is gone. Add that key's line to secret.key again, "
            "or enter the secret anew."
        ) from None


def opened_by(sealed: str, keys: Mapping[int, bytes]) -> int | None:
    """The number of the key that opens a stored secret; None if none of these does."""
    for number, key in keys.items():
        try:
            _box((key,)).decrypt(sealed.encode())
        except InvalidToken:
            continue
        return number
    return None


def reseal(sealed: str, keys: Mapping[int, bytes]) -> str:
    """The same secret, sealed with the key of the highest number. Raises SealBroken if none opens it."""
    newest_first = tuple(keys[number] for number in sorted(keys, reverse=True))
    try:
        return _box(newest_first).rotate(sealed.encode()).decode("ascii")
    except InvalidToken:
        raise SealBroken("None of the keys opens this secret.") from None


class SealedField(models.TextField):  # type: ignore[type-arg]  # it takes parameters in the stubs only
    """A text that is sealed on its way into the database and opened on its way out."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **{"blank": True, "default": "", **named})

    def get_prep_value(self, value: Any) -> Any:
        """Seal."""
        return seal(value) if isinstance(value, str) else value

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        """Open. Raises SealBroken."""
        return unseal(value) if value else value


def _opened(sealed: str) -> str:
    try:
        return _box(_keys()).decrypt(sealed.encode()).decode()
    except InvalidToken:
        # Another thread may have taken the new keys over a moment ago: it is tried again in any case.
        key_ring.look_again()
        return _box(_keys()).decrypt(sealed.encode()).decode()


@lru_cache(maxsize=8)
def _box(keys: tuple[bytes, ...]) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def _keys() -> tuple[bytes, ...]:
    """Newest first."""
    return tuple(settings.POSTROOM_SEALING_KEYS)
