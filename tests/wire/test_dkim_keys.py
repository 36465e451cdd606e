"""DKIM keys and the records that publish them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire import dkim_keys
from postroom.wire.dkim_keys import KeyRecord, read_record, record_strings, record_text, zone_value

BASE64 = st.binary(min_size=1, max_size=600).map(lambda octets: base64.b64encode(octets).decode())


@pytest.mark.parametrize(("algorithm", "octets"), [("rsa", 294), ("ed25519", 32)])
def test_a_key_is_made_read_again_and_published(algorithm: str, octets: int) -> None:
    pem = dkim_keys.make_private(algorithm)
    public = dkim_keys.public_of(dkim_keys.read_private(pem))
    assert len(base64.b64decode(public)) == octets
    assert read_record(record_text(KeyRecord(algorithm, public))) == KeyRecord(algorithm, public)


def test_a_text_that_is_no_key_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="PEM"):
        dkim_keys.read_private("no key")


@given(st.sampled_from(["rsa", "ed25519"]), BASE64)
def test_a_record_is_cut_into_strings_that_dns_holds(algorithm: str, public: str) -> None:
    text = record_text(KeyRecord(algorithm, public))
    strings = record_strings(text)
    assert "".join(strings) == text
    assert all(0 < len(string) <= 255 for string in strings)
    assert zone_value(text).count('"') == 2 * len(strings)


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("v=DKIM1; k=ed25519; p=AA BB", KeyRecord("ed25519", "AABB")),
        ("p=AABB;", KeyRecord("rsa", "AABB")),
        ("v=DKIM1;p=", KeyRecord("rsa", "")),
        ("k=rsa; v=DKIM1; p=AA", None),
        ("v=DKIM2; p=AA", None),
        ("v=spf1 -all", None),
        ("", None),
    ],
)
def test_a_published_record_is_read_as_the_rfc_says(text: str, record: KeyRecord | None) -> None:
    assert read_record(text) == record
