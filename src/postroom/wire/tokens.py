"""Signed addresses: a local part that says which Email or record it belongs to, and cannot be guessed.

A token is lower-case base32 of: purpose and key number, the numbers as varints, and an 80-bit MAC (keyed
BLAKE2b over purpose, key number, workspace and numbers). Case is folded on the way in, because relays
and people change it. With `bounce+` before it, it stays within the 64 octets of a local part
(RFC 5321 §4.5.3.1.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from postroom.wire.varints import read_varints, varint

MAC_OCTETS = 10
_RETURN_PATH, _REPLY, _COPY = 1, 2, 3
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """Keys by number (1 to 255). The highest number signs, all of them verify."""

    keys: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if not self.keys or not all(0 < number < 256 for number in self.keys):
            raise ValueError("Token keys need at least one key, numbered from 1 to 255.")
        if not all(16 <= len(key) <= 64 for key in self.keys.values()):
            raise ValueError("A token key has 16 to 64 octets; make one with secrets.token_bytes(32).")

    @property
    def newest(self) -> int:
        """The number of the key that signs."""
        return max(self.keys)


@dataclass(frozen=True, slots=True)
class ReturnPathToken:
    """Which Email a bounce is about, and which of its attempts."""

    email_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """Which record an answer belongs to."""

    record_id: int


class Signer:
    """Signs and recognises the tokens of one workspace. Keeps the keyed hash states, for the hot path."""

    def __init__(self, keys: TokenKeys, workspace_id: int) -> None:
        self._newest = keys.newest
        scope = b"%d:" % workspace_id
        self._states = {
            number: hashlib.blake2b(scope, key=key, digest_size=MAC_OCTETS, person=b"postroom-address")
            for number, key in keys.keys.items()
        }

    def return_path(self, email_id: int, attempt: int) -> str:
        """The token of a return path."""
        return self._sign(_RETURN_PATH, varint(email_id) + varint(attempt))

    def reply(self, record_id: int) -> str:
        """The token of a reply address."""
        return self._sign(_REPLY, varint(record_id))

    def copy_mark(self, email_id: int) -> str:
        """The value of the header that marks one recipient's copy."""
        return self._sign(_COPY, varint(email_id))

    def recognise(self, text: str) -> ReturnPathToken | ReplyToken | None:
        """The token a text is, or None if it is none of ours."""
        match self._open(text):
            case (purpose, [email_id, attempt]) if purpose == _RETURN_PATH:
                return ReturnPathToken(email_id, attempt)
            case (purpose, [record_id]) if purpose == _REPLY:
                return ReplyToken(record_id)
        return None

    def recognise_copy(self, text: str) -> int | None:
        """The Email id of a copy mark, or None if it is none of ours."""
        match self._open(text):
            case (purpose, [email_id]) if purpose == _COPY:
                return email_id
        return None

    def _sign(self, purpose: int, numbers: bytes) -> str:
        head = bytes((purpose, self._newest)) + numbers
        return _encode(head + self._mac(self._newest, head))

    def _mac(self, key_number: int, head: bytes) -> bytes:
        state = self._states[key_number].copy()
        state.update(head)
        return state.digest()

    def _open(self, text: str) -> tuple[int, list[int]] | None:
        octets = _decode(text)
        if octets is None or len(octets) < 3 + MAC_OCTETS or octets[1] not in self._states:
            return None
        head, mac = octets[:-MAC_OCTETS], octets[-MAC_OCTETS:]
        if not hmac.compare_digest(mac, self._mac(head[1], head)):
            return None
        numbers = read_varints(head[2:])
        return None if numbers is None else (head[0], numbers)


def sign(token: ReturnPathToken | ReplyToken, keys: TokenKeys, workspace_id: int) -> str:
    """Sign one token; use a `Signer` for many."""
    signer = Signer(keys, workspace_id)
    if isinstance(token, ReplyToken):
        return signer.reply(token.record_id)
    return signer.return_path(token.email_id, token.attempt)


def recognise(text: str, keys: TokenKeys, workspace_id: int) -> ReturnPathToken | ReplyToken | None:
    """The token a text is in this workspace, or None."""
    return Signer(keys, workspace_id).recognise(text)


def copy_mark(email_id: int, keys: TokenKeys, workspace_id: int) -> str:
    """The value of `X-Postroom-Copy` for one Email."""
    return Signer(keys, workspace_id).copy_mark(email_id)


def recognise_copy(text: str, keys: TokenKeys, workspace_id: int) -> int | None:
    """The Email id that a `X-Postroom-Copy` names, or None."""
    return Signer(keys, workspace_id).recognise_copy(text)


def split_subaddress(local_part: str) -> tuple[str, str | None]:
    """Alias and token of a local part, cut at the first plus sign; None where there is none."""
    alias, plus, token = local_part.partition("+")
    return alias, token if plus else None


def _encode(octets: bytes) -> str:
    """Lower-case base32 without padding; two characters at a time, because `base64` is slow at it."""
    length = (len(octets) * 8 + 4) // 5
    count = length + length % 2
    number = int.from_bytes(octets, "big") << (count * 5 - len(octets) * 8)
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(count * 5 - 10, -1, -10)])[:length]


def _decode(text: str) -> bytes | None:
    if len(text) > 80 or not text.isascii():
        return None
    try:
        octets = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        return None
    # Base32 has unused bits at its end; only the one spelling that we write is ours.
    return octets if _encode(octets) == text.lower() else None
