"""Signed links that work without a login: what they lead to is in them, and nobody can make one up.

A token is base64url, without padding, of: purpose and key number, the numbers as varints, and a 128-bit MAC
(keyed BLAKE2b over all that stands before it). At a thousand guesses a second, finding one takes longer than
the sun will shine, so guesses need no counting. Case matters, and only one spelling is ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from postroom.wire.tokens import TokenKeys
from postroom.wire.varints import read_varints, varint

MAC_OCTETS = 16
_LONGEST = 120
_DOWNLOAD, _UNFOLLOW = 1, 2


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """Which attachment may be fetched, and when (whole seconds since 1970) the link was made."""

    attachment_id: int
    made_at_seconds: int


@dataclass(frozen=True, slots=True)
class UnfollowLink:
    """Whose copy of a message it stands in: the Email of a follower who may unfollow."""

    email_id: int


class LinkSigner:
    """Signs and recognises the links of an installation. Keeps the keyed hash states, for the hot path."""

    def __init__(self, keys: TokenKeys) -> None:
        self._newest = keys.newest
        self._states = {
            number: hashlib.blake2b(key=key, digest_size=MAC_OCTETS, person=b"postroom-link")
            for number, key in keys.keys.items()
        }

    def download(self, attachment_id: int, made_at_seconds: int) -> str:
        """The token of a link to an attachment."""
        return self._sign(_DOWNLOAD, varint(attachment_id) + varint(made_at_seconds))

    def unfollow(self, email_id: int) -> str:
        """The token of a link by which the recipient of an Email stops following its record."""
        return self._sign(_UNFOLLOW, varint(email_id))

    def recognise(self, text: str) -> DownloadLink | UnfollowLink | None:
        """The link a token stands for, or None if it is none of ours."""
        match self._open(text):
            case (purpose, [attachment_id, made_at_seconds]) if purpose == _DOWNLOAD:
                return DownloadLink(attachment_id, made_at_seconds)
            case (purpose, [email_id]) if purpose == _UNFOLLOW:
                return UnfollowLink(email_id)
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


def _encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes | None:
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return octets if _encode(octets) == text else None
