"""DKIM signatures, held against the examples of the RFC and against another implementation."""

from __future__ import annotations

import re
from typing import Any

import dkim  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.wire import dkim_keys
from postroom.wire.compose import Template
from postroom.wire.dkim import SIGNED, SignedTemplate, SigningKey, body_hash, canonical_body, canonical_field

AT = 1_795_000_000
PRIVATE = {name: dkim_keys.read_private(dkim_keys.make_private(name)) for name in ("rsa", "ed25519")}
KEYS = {name: SigningKey("demo.example", f"pr-{name}", private) for name, private in PRIVATE.items()}
VALUES = {b"to": b'"Ben  Ortiz"\r\n\t<ben@example.org>', b"copy": b"abc", b"name": b"Ben  \t"}
LETTER = (
    b"Date: Mon, 02 Nov 2026 09:00:00 +0000\r\nFrom: Ana Pop <ana@demo.example>\r\nTo: %(to)b\r\n"
    b"Subject: 100%% of the\r\n  lamps\t are here \r\nMessage-ID: <1@demo.example>\r\n"
    b"X-Postroom-Copy: %(copy)b\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
    b"Hello  \r\n\r\n.a dot\tand 100%%\r\n\r\n\r\n"
)


def signed(octets: bytes, *names: str, values: dict[bytes, bytes] = VALUES) -> bytes:
    """One copy of a template with the signatures of these keys before it."""
    template = SignedTemplate(octets, [KEYS[name] for name in names])
    return template.fields(values, AT) + octets % values


def verdicts(copy: bytes) -> list[bool]:
    """What dkimpy says of each signature, once the copy went over the wire: SMTP ends it with CRLF."""
    copy = copy if copy.endswith(b"\r\n") else copy + b"\r\n"
    count = len(re.findall(rb"^DKIM-Signature:", copy.partition(b"\r\n\r\n")[0], re.MULTILINE))
    return [_verdict(copy, index) for index in range(count)]


def _verdict(copy: bytes, index: int) -> bool:
    try:
        return bool(dkim.DKIM(copy).verify(index, dnsfunc=published))
    except dkim.DKIMException:
        return False


def published(name: bytes, timeout: int = 5) -> bytes:
    """The TXT record of the key that is asked for."""
    [found] = [key for key in KEYS.values() if name.decode() == f"{key.selector}._domainkey.demo.example."]
    algorithm = found.algorithm.removesuffix("-sha256")
    record = dkim_keys.KeyRecord(algorithm, dkim_keys.public_of(found.private))
    return dkim_keys.record_text(record).encode()


@pytest.mark.parametrize("names", [("rsa",), ("ed25519",), ("rsa", "ed25519")])
def test_another_implementation_verifies_every_signature(names: tuple[str, ...]) -> None:
    assert verdicts(signed(LETTER, *names)) == [True] * len(names)


@pytest.mark.parametrize("name", ["rsa", "ed25519"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b".a dot", b".b dot"),
        (b"of the", b"of a"),
        (b"ben@example.org", b"bob@example.org"),
        (b"ana@demo", b"eva@demo"),
        (b"<1@demo", b"<2@demo"),
        (b"t=1795000000", b"t=1795000001"),
    ],
)
def test_a_changed_octet_is_noticed(name: str, before: bytes, after: bytes) -> None:
    copy = signed(LETTER, name)
    assert before in copy
    assert verdicts(copy.replace(before, after)) == [False]


@pytest.mark.parametrize("line", [b"From: Eve <eve@demo.example>", b"To: eve@x.example", b"Subject: More"])
@pytest.mark.parametrize("extra", [b"Reply-To: eve@x.example", b"Date: x", b"Message-ID: <x@y>"])
def test_nobody_may_add_what_readers_look_at(line: bytes, extra: bytes) -> None:
    copy = signed(LETTER, "ed25519")
    fields, gap, rest = copy.partition(b"\r\nDate:")
    for added in (line, extra):
        assert verdicts(fields + b"\r\n" + added + gap + rest) == [False]
    assert verdicts(fields + b"\r\nX-Seen: yes" + gap + rest) == [True]


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: text/html",
        b"Cc: eve@x.example",
        b"MIME-Version: 1.0",
        b"Content-Transfer-Encoding: base64",
        b"Sender: eve@x.example",
        b"Reply-To: eve@x.example",
    ],
)
@pytest.mark.parametrize("octets", [LETTER, b"From: ana@demo.example\r\nTo: %(to)b\r\n\r\nHello\r\n"])
def test_nothing_put_first_changes_how_a_mail_is_read(line: bytes, octets: bytes) -> None:
    copy = signed(octets, "rsa")
    assert verdicts(copy) == [True]
    assert verdicts(line + b"\r\n" + copy) == [False]


def test_what_a_relay_may_change_under_relaxed_changes_nothing() -> None:
    copy = signed(LETTER, "rsa", "ed25519")
    refolded = copy.replace(b"Subject: 100% of the\r\n  lamps", b"SUBJECT:   100%\r\n\tof the lamps")
    assert refolded != copy
    assert verdicts(refolded.removesuffix(b"\r\n") + b"  \r\n\r\n\r\n") == [True, True]


def test_a_field_that_repeats_is_signed_from_the_bottom_up() -> None:
    octets = LETTER.replace(b"MIME-V", b"Cc: one@x.example\r\nCc: two@x.example\r\nCc: %(name)b\r\nMIME-V")
    copy = signed(octets, "rsa")
    assert verdicts(copy) == [True]
    assert verdicts(copy.replace(b"one@x", b"uno@x")) == [False]
    assert verdicts(copy.replace(b"MIME-V", b"Cc: four@x.example\r\nMIME-V", 1)) == [False]


def test_a_body_with_a_field_is_hashed_for_each_copy() -> None:
    octets = LETTER + b"Dear %(name)b,\r\n"
    for name in (b"Ben", b"Carla", b""):
        assert verdicts(signed(octets, "rsa", values={**VALUES, b"name": name})) == [True]


@pytest.mark.parametrize("names", [("rsa",), ("ed25519",)])
def test_the_field_is_folded_within_78_octets_and_has_neither_l_nor_x(names: tuple[str, ...]) -> None:
    field = signed(LETTER, *names).partition(b"\r\nDate:")[0]
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert all(line.startswith(b" ") for line in field.split(b"\r\n")[1:])
    tags = [tag.partition(b"=")[0].strip() for tag in field.partition(b":")[2].split(b";")]
    assert tags == [b"v", b"a", b"c", b"d", b"s", b"t", b"h", b"bh", b"b"]


@given(labels=st.lists(st.integers(1, 63), min_size=1, max_size=4), selector=st.integers(1, 63))
def test_the_field_is_folded_well_for_domains_of_any_length(labels: list[int], selector: int) -> None:
    domain = ".".join(["d" * length for length in labels])
    key = SigningKey(domain, "s" * selector, PRIVATE["ed25519"])
    lines = SignedTemplate(LETTER, [key]).fields(VALUES, AT).removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 78 for line in lines if domain.encode() not in line)
    assert max(map(len, lines)) <= max(78, len(domain) + 4)


def test_the_body_examples_of_rfc_6376() -> None:
    assert canonical_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"  # §3.4.5
    assert canonical_field(b"a", b" X") == b"a:X\r\n"
    assert canonical_field(b"b", b" Y\t\r\n\tZ  ") == b"b:Y Z\r\n"
    assert body_hash(b"") == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # §3.4.4


@pytest.mark.parametrize("body", [b"", b"\r\n", b" \t\r\n", b"\r\n\r\n\r\n", b" "])
def test_a_body_that_says_nothing_is_empty(body: bytes) -> None:
    assert canonical_body(body) == b""
    assert verdicts(signed(LETTER.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body, "ed25519")) == [True]


@pytest.mark.parametrize(
    "octets", [b"", b"\r\n", b"no colon\r\n\r\nHi\r\n", b"From: a@b.example", b" \r\n\r\n"]
)
def test_octets_that_are_no_mail_are_signed_all_the_same(octets: bytes) -> None:
    assert SignedTemplate(octets, [KEYS["ed25519"]]).fields({}, AT).startswith(b"DKIM-Signature: v=1;")


def test_a_placeholder_is_told_from_a_percent_sign() -> None:
    octets = b"From: a@b.example\r\nTo: %(to)b\r\nSubject: 5%%(to)b %%%%\r\n\r\n%%(to)b\r\n"
    template = SignedTemplate(octets, [KEYS["rsa"]])
    assert verdicts(template.fields(VALUES, AT) + octets % VALUES) == [True]
    fields = template.fields(VALUES, AT)
    assert b"to:to;" in re.sub(rb"\s", b"", fields)  # what varies comes last


# RFC 5322 leaves out other controls in headers, and dkimpy strips some of them as if they were blanks.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from(" \t\t  "))
BLANK = st.sampled_from([b" ", b"\t", b"  ", b" \t "])
HEADER_NAMES = st.sampled_from(
    [name.decode().title().encode() for name in SIGNED] + [b"X-Other", b"Received"]
)
LINES = st.lists(TEXT.map(lambda text: text.encode()), max_size=4)


@st.composite
def fields(draw: Any) -> bytes:
    """A header field: any text, folded, blanks before the colon as obsolete syntax has them."""
    pieces = draw(LINES)
    value = b"".join(b"\r\n" + draw(BLANK) + piece if draw(st.booleans()) else piece for piece in pieces)
    value = b"x" + value if not value.strip(b" \t\r\n") else value
    name: bytes = draw(HEADER_NAMES)
    return name + b":" + _without_blank_folds(value) + b"\r\n"


def _without_blank_folds(value: bytes) -> bytes:
    """A line of blanks alone ends no header, but other readers differ about it."""
    return re.sub(rb"\r\n[ \t]*(?=\r\n|\Z)", b"", value)


BODIES = st.lists(
    TEXT.map(lambda text: text.encode()) | st.sampled_from([b"", b".", b"..", b" ", b"\t", b"\xff\xfe %"])
).map(b"\r\n".join)


@settings(max_examples=300, deadline=None)
@given(head=st.lists(fields(), max_size=12), body=BODIES, ends=st.booleans())
def test_any_mail_that_a_program_hands_over_verifies(head: list[bytes], body: bytes, ends: bool) -> None:
    raw = b"From: ana@demo.example\r\n" + b"".join(head) + b"\r\n" + body + (b"\r\n" if ends else b"")
    octets = Template.literal(raw).octets
    assert verdicts(signed(octets, "ed25519", values={})) == [True]


@settings(max_examples=30, deadline=None)
@given(head=st.lists(fields(), max_size=4), body=BODIES)
def test_any_mail_verifies_with_both_algorithms(head: list[bytes], body: bytes) -> None:
    octets = Template.literal(b"From: ana@demo.example\r\n" + b"".join(head) + b"\r\n" + body).octets
    assert verdicts(signed(octets, "rsa", "ed25519", values={})) == [True, True]


@given(BODIES)
def test_a_canonical_body_is_its_own_canonical_form(body: bytes) -> None:
    once = canonical_body(body)
    assert canonical_body(once) == once
    assert canonical_body(body + b" \t\r\n\r\n") == once
