"""DKIM signatures (RFC 6376, RFC 8463), relaxed/relaxed: what all copies share is worked out once."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

Private: TypeAlias = RSAPrivateKey | Ed25519PrivateKey
Field: TypeAlias = tuple[bytes, bytes]
"""The name of a header field in lower case, and what follows its colon."""

SIGNED: Final = tuple(
    b"from sender to cc subject date message-id reply-to references in-reply-to mime-version content-type "
    b"content-transfer-encoding list-unsubscribe list-unsubscribe-post auto-submitted".split()
)
# What is not there may not be added either: it would change who wrote, to whom, or how the body is read.
OVERSIGNED: Final = frozenset(
    b"from sender to cc subject date message-id reply-to mime-version content-type "
    b"content-transfer-encoding".split()
)
LINE_OCTETS: Final = 78
_BASE64_IN_A_LINE: Final = LINE_OCTETS - 3
_BLANKS: Final = re.compile(rb"[ \t]+")
_NEXT_FIELD: Final = re.compile(rb"\r\n(?![ \t])")
_PADDING: Final = PKCS1v15()
_PREHASHED: Final = Prehashed(SHA256())
# Stand in for what is known only later, as long as that will be; no header name, domain or selector has them.
_TIME: Final = b"\0" * 10
_BODY_HASH: Final = b"\1" * 44


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with where its public half is published: `<selector>._domainkey.<domain>`, both ASCII."""

    domain: str
    selector: str
    private: Private

    @property
    def algorithm(self) -> str:
        """The value of the tag `a`; never rsa-sha1 (RFC 8301 §3.1)."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, octets: bytes) -> bytes:
        """The signature in base64. Ed25519 signs the SHA-256 hash of the octets (RFC 8463 §3)."""
        digest = hashlib.sha256(octets).digest()
        if isinstance(self.private, RSAPrivateKey):
            return base64.b64encode(self.private.sign(digest, _PADDING, _PREHASHED))
        return base64.b64encode(self.private.sign(digest))


class SignedTemplate:
    """What signs the copies of one template (`wire.compose.Template`) with one or more keys of one domain.

    Made once; `fields` may then be called in any thread, at any time.
    """

    def __init__(self, octets: bytes, keys: Sequence[SigningKey]) -> None:
        head, body = _split(octets)
        chosen = _chosen(_fields(head))
        self._literal = b"".join(canonical_field(name, value) for name, value in chosen.literal)
        self._varying = chosen.varying
        self._body = body if _has_placeholder(body) else b""
        self._body_hash = b"" if self._body else body_hash(_without_escapes(body))
        self._signatures = [_Signature.of(key, chosen.names) for key in keys]

    def fields(self, values: Mapping[bytes, bytes], at: int) -> bytes:
        """The DKIM-Signature fields of one copy, to be put before its octets; each line ends in CRLF.

        `values` are those that the template is substituted with, `at` is the time in seconds of the epoch.
        """
        varying = [canonical_field(name, value % values) for name, value in self._varying]
        signed = b"".join((self._literal, *varying))
        hashed = self._body_hash or body_hash(self._body % values)
        return b"".join([signature.field(signed, hashed, at) for signature in self._signatures])


@dataclass(frozen=True, slots=True)
class _Signature:
    """The DKIM-Signature field up to its own value, folded and in canonical form, with `%d` and `%b`."""

    key: SigningKey
    folded: bytes
    canonical: bytes

    @classmethod
    def of(cls, key: SigningKey, names: Sequence[bytes]) -> Self:
        folded = _folded(_words(key, names))
        name, _, value = folded.partition(b":")
        canonical = canonical_field(name.lower(), value + b"\r\n b=").removesuffix(b"\r\n")
        return cls(key, _with_places(folded), _with_places(canonical))

    def field(self, signed: bytes, hashed: bytes, at: int) -> bytes:
        signature = self.key.sign(signed + self.canonical % (at, hashed))
        pieces = range(0, len(signature), _BASE64_IN_A_LINE)
        lines = b"\r\n ".join([signature[start : start + _BASE64_IN_A_LINE] for start in pieces])
        return b"%b\r\n b=%b\r\n" % (self.folded % (at, hashed), lines)


def canonical_field(name: bytes, value: bytes) -> bytes:
    """A header field in the relaxed form, with CRLF; `name` is in lower case (RFC 6376 §3.4.2)."""
    return b"%b:%b\r\n" % (name, _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t"))


def canonical_body(body: bytes) -> bytes:
    """A body with CRLF line ends in the relaxed form (RFC 6376 §3.4.4); empty if it says nothing.

    In whole passes, each at the speed of `replace`: a body may have megabytes.
    """
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    body = body.replace(b" \r\n", b"\r\n")
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[: end + 2] if end else b""


def body_hash(body: bytes) -> bytes:
    """The value of the tag `bh` for a body, in base64."""
    return base64.b64encode(hashlib.sha256(canonical_body(body)).digest())


def _split(octets: bytes) -> tuple[bytes, bytes]:
    """Header block and body; octets without an empty line are all header."""
    if octets.startswith(b"\r\n"):
        return b"", octets[2:]
    head, _, body = octets.partition(b"\r\n\r\n")
    return head, body


def _fields(head: bytes) -> list[Field]:
    """The fields in their order; a line without a colon is none."""
    parted = (line.partition(b":") for line in _NEXT_FIELD.split(head))
    return [(name.rstrip(b" \t").lower(), value) for name, colon, value in parted if colon]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What is signed, in this order: fields alike in all copies, then those with placeholders.

    `names` is the tag `h`. A field that stands there more than once is taken from the bottom up (RFC 6376
    §5.4.2); one more time than it occurs means that another one may not be added (§5.4, §8.15).
    """

    names: Sequence[bytes]
    literal: Sequence[Field]
    varying: Sequence[Field]


def _chosen(fields: Sequence[Field]) -> _Chosen:
    groups = {name: [field for field in reversed(fields) if field[0] == name] for name in SIGNED}
    is_varying = {name: any(_has_placeholder(value) for _, value in group) for name, group in groups.items()}
    in_order = sorted(SIGNED, key=is_varying.__getitem__)
    names = [name for each in in_order for name in [each] * (len(groups[each]) + (each in OVERSIGNED))]
    literal = [field for name in in_order if not is_varying[name] for field in groups[name]]
    varying = [field for name in in_order if is_varying[name] for field in groups[name]]
    return _Chosen(names, [(name, _without_escapes(value)) for name, value in literal], varying)


def _has_placeholder(octets: bytes) -> bool:
    return b"%(" in octets.replace(b"%%", b"")


def _without_escapes(octets: bytes) -> bytes:
    return octets.replace(b"%%", b"%")


def _words(key: SigningKey, names: Sequence[bytes]) -> list[bytes]:
    """What the field may be folded between; never inside a domain (RFC 6376 §3.5)."""
    *firsts, last = [b" h=" + names[0], *names[1:]]
    return [
        b" v=1;",
        b" a=%b;" % key.algorithm.encode(),
        b" c=relaxed/relaxed;",
        b" d=%b;" % key.domain.encode("ascii"),
        b" s=%b;" % key.selector.encode("ascii"),
        b" t=%b;" % _TIME,
        *(name + b":" for name in firsts),
        last + b";",
        b" bh=%b;" % _BODY_HASH,
    ]


def _folded(words: Iterable[bytes]) -> bytes:
    lines = [b"DKIM-Signature:"]
    for word in words:
        if len(lines[-1]) + len(word) > LINE_OCTETS:
            lines.append(b" " + word.lstrip())
        else:
            lines[-1] += word
    return b"\r\n".join(lines)


def _with_places(octets: bytes) -> bytes:
    return octets.replace(b"%", b"%%").replace(_TIME, b"%d").replace(_BODY_HASH, b"%b")
