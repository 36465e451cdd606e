"""Tells whether two arrivals are the same mail, whatever way each came."""

import re
from hashlib import sha256
from typing import Final

from postroom.wire.headers import DEFAULT_LIMITS, Headers
from postroom.wire.threads import message_ids

_CLAIMS: Final = ("Message-ID", "From", "Date", "Subject")
# What a relay writes or changes on the way; each field with its continuation lines.
_TRACE: Final = re.compile(
    rb"^(?:received|return-path|delivered-to|x-[!-9;-~]*)[ \t]*:.*\n?(?:[ \t].*\n?)*",
    re.IGNORECASE | re.MULTILINE,
)


def identity_of(octets: bytes, headers: Headers, body: int) -> str | None:
    """What is the same for the same mail alone, as SHA-256 in hexadecimal; line ends do not count.

    `headers` and `body` are what `read_header_block` found. With a Message-ID it is over that, From, Date,
    Subject and body, so that knowing a Message-ID is not enough to pass for its mail. Without one it is over
    everything except trace headers. None: there is no Date either, and two such mails may well be two.
    """
    is_named = bool(message_ids(headers.get("Message-ID") or "", 1))
    if is_named and body < len(octets):  # without an empty line the text may stand among the fields
        claims = [headers.get_all(name) for name in _CLAIMS]
        return _digest(repr(claims).encode("utf-8", "surrogatepass"), octets[body:])
    if is_named or (headers.get("Date") or "").strip():
        read = min(body, DEFAULT_LIMITS.header_block)
        return _digest(_TRACE.sub(b"", _with_lf(octets[:read])), octets[read:])
    return None


def retry_identities(octets: bytes, peer: str, period: int) -> tuple[str, str]:
    """Identities of a mail that has none of its own: of a period of time, and of the period before.

    They are the same only for the same octets from the same peer, so they tell a second try of one SMTP
    client from another mail. `period` counts the periods of any fixed length.
    """
    digest = sha256(octets).digest()
    return _of_period(digest, peer, period), _of_period(digest, peer, period - 1)


def _of_period(digest: bytes, peer: str, period: int) -> str:
    return _digest(digest, f"{period} {peer}".encode("utf-8", "surrogatepass"))


def _digest(claims: bytes, body: bytes) -> str:
    return sha256(sha256(claims).digest() + sha256(_with_lf(body).rstrip(b"\n")).digest()).hexdigest()


def _with_lf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")
