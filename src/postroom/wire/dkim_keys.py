"""DKIM keys: made, read, and written as the TXT record that publishes them (RFC 6376 §3.6.1, RFC 8463 §4)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from postroom.wire.dkim import Private

RSA: Final = "rsa"
ED25519: Final = "ed25519"
STRING_OCTETS: Final = 255
_RSA_BITS: Final = 2048  # RFC 8301 §3.2: at least 1024, better 2048; longer records do not fit everywhere
_BLANKS: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a TXT record says of a key: the tags `k` and `p`. An empty `public` means revoked."""

    key_type: str
    public: str


def make_private(algorithm: str) -> str:
    """A new private key (RSA-2048 or Ed25519) as PEM. Takes up to a second for RSA."""
    private: Private
    if algorithm == RSA:
        private = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode("ascii")


def read_private(pem: str) -> Private:
    """Read what `make_private` wrote. Raises ValueError for anything that is no such key."""
    private = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("A DKIM key is an RSA or an Ed25519 key.")
    return private


def public_of(private: Private) -> str:
    """The tag `p`: base64 of the SubjectPublicKeyInfo for RSA, of the bare 32 octets for Ed25519."""
    public = private.public_key()
    if isinstance(private, RSAPrivateKey):
        octets = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(octets).decode("ascii")


def record_name(selector: str, domain: str) -> str:
    """Where the record is published (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def record_text(record: KeyRecord) -> str:
    """What the record says, in one piece."""
    return f"v=DKIM1; k={record.key_type}; p={record.public}"


def record_strings(text: str) -> list[str]:
    """The same cut into the strings that a TXT record holds, each of at most 255 octets."""
    return [text[start : start + STRING_OCTETS] for start in range(0, len(text), STRING_OCTETS)]


def zone_value(text: str) -> str:
    """The same as it stands in a zone file: quoted strings beside each other."""
    return " ".join(f'"{string}"' for string in record_strings(text))


def read_record(text: str) -> KeyRecord | None:
    """Read a published record; None if it is no DKIM key (RFC 6376 §3.6.1)."""
    tags = [part.partition("=") for part in text.split(";") if part.strip()]
    values = {name.strip(): _BLANKS.sub("", value) for name, equals, value in tags if equals}
    first = tags[0][0].strip() if tags else ""
    if "p" not in values or values.get("v", "DKIM1") != "DKIM1" or ("v" in values and first != "v"):
        return None
    return KeyRecord(values.get("k", RSA), values["p"])
