import time
from email import message_from_bytes, policy
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.address import AddressError, Mailbox, clean_name, normalise, parse_mailboxes


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("ana@EXAMPLE.com ", "ana@example.com"),
        ("\tAna.Pop+Sales@demo.example\n", "ana.pop+sales@demo.example"),
        ("olga@localhost", "olga@localhost"),
        ("olga@shop.localhost", "olga@shop.localhost"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("ana@BÜCHER.example.", "ana@xn--bcher-kva.example"),
        ("o'brien@example.org", "o'brien@example.org"),
        ("%s!x=y@example.org", "%s!x=y@example.org"),
    ],
)
def test_an_address_has_one_form(written: str, normal: str) -> None:
    assert normalise(written) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ana",
        "@",
        "ana@",
        "@example.org",
        "ana@@example.org",
        "a@b@example.org",
        "ana pop@example.org",
        "ana@exa mple.org",
        "ana@example..org",
        "ana@.example.org",
        "ana..pop@example.org",
        ".ana@example.org",
        "ana.@example.org",
        "ana@example",
        "ana@-example.org",
        "ana@example-.org",
        "ana@[192.0.2.1]",
        "ana@192.0.2.1",
        '"ana pop"@example.org',
        "ana@example.org\r\nBcc: b@example.org",
        "a\x00na@example.org",
        "ana@exam\u202eple.org",
        "a,b@example.org",
        "<ana@example.org>",
        "Ana <ana@example.org>",
        "ana@example.org, ben@example.org",
        "a" * 65 + "@example.org",
        "ana@" + "a" * 64 + ".org",
        "ana@" + "a.b" * 90 + ".org",
        "a\u3000b@example.org",
        "ana@\udc80.org",
        "a\udc80@example.org",
        "x" * 100_000 + "@example.org",
    ],
)
def test_what_is_not_one_deliverable_address_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(AddressError, match=r"address|octets"):
        normalise(text)


@given(st.text() | st.emails() | st.from_regex(r"\A[^@]{1,9}@[^@]{1,9}\.\w\w\Z"))
def test_any_text_is_normalised_once_and_for_all_or_refused(text: str) -> None:
    try:
        normal = normalise(text)
    except AddressError:
        return
    assert normalise(normal) == normal
    assert normal.count("@") == 1
    assert normal.rpartition("@")[2].isascii()


def test_a_mailbox_knows_its_parts() -> None:
    ana = Mailbox("Ana", "ana@demo.example")
    assert (ana.local_part, ana.domain, str(ana)) == ("ana", "demo.example", "Ana <ana@demo.example>")
    assert str(Mailbox("", "ana@demo.example")) == "ana@demo.example"
    assert str(Mailbox("Pop, Ana", "ana@demo.example")) == '"Pop, Ana" <ana@demo.example>'


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("", b"ana@demo.example"),
        ("Ana Pop", b"Ana Pop <ana@demo.example>"),
        ("Pop, Ana", b'"Pop, Ana" <ana@demo.example>'),
        ('Ana "A" \\', b'"Ana \\"A\\" \\\\" <ana@demo.example>'),
        ("Ana\r\nBcc: ben@example.org", b'"Ana Bcc: ben@example.org" <ana@demo.example>'),
        ("Ana\x00\x1b[31m\u202e", b'"Ana [31m" <ana@demo.example>'),
        ("=?utf-8?q?x?=", b"=?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <ana@demo.example>"),
    ],
)
def test_a_name_is_written_safely(name: str, octets: bytes) -> None:
    assert Mailbox(name, "ana@demo.example").header() == octets


@given(st.text(max_size=300), st.emails().filter(lambda text: len(text) < 255))
def test_any_mailbox_is_one_short_ascii_line_that_reads_back(name: str, address: str) -> None:
    try:
        box = Mailbox(name, normalise(address))
    except AddressError:
        return
    octets = box.header()
    assert octets.isascii()
    assert octets.decode().isprintable()
    assert len(octets) < 980
    (read,) = parse_mailboxes(octets.decode())
    assert read.addr_spec == box.addr_spec
    assert clean_name(name).startswith(read.display_name)
    assert len(read.display_name) >= min(len(clean_name(name)), 80) - 1


def test_a_long_name_beyond_ascii_fits_its_line() -> None:
    octets = Mailbox("\N{GRINNING FACE}" * 300, "a" * 64 + "@" + ("b" * 60 + ".") * 3 + "example").header()
    assert len(b"Reply-To: " + octets) <= 998


def test_the_standard_library_reads_our_mailboxes() -> None:
    octets = Mailbox("Ștefan “Ana” Pop", "ana@demo.example").header()
    read = message_from_bytes(b"To: " + octets + b"\r\n\r\n", policy=policy.default)["To"].addresses[0]
    assert (read.display_name, read.addr_spec) == ("Ștefan “Ana” Pop", "ana@demo.example")
    assert parseaddr(Mailbox("Pop, Ana", "ana@demo.example").header().decode()) == (
        "Pop, Ana",
        "ana@demo.example",
    )


@pytest.mark.parametrize(
    "address", ["ana@demo.example\r\nBcc: x@example.org", "a b@example.org", "", "<ana@x.example>"]
)
def test_a_mailbox_made_by_hand_cannot_break_a_header(address: str) -> None:
    with pytest.raises(AddressError):
        Mailbox("Ana", address).header()


def test_a_domain_beyond_ascii_is_written_in_its_ascii_form() -> None:
    assert Mailbox("", "ana@bücher.example").header() == b"ana@xn--bcher-kva.example"


def test_a_local_part_beyond_ascii_is_shown_as_an_empty_group() -> None:
    octets = Mailbox("", "añá@demo.example").header()
    assert octets.isascii()
    assert octets.endswith(b" :;")
    assert parse_mailboxes(octets.decode()) == []


@pytest.mark.parametrize(
    ("header", "boxes"),
    [
        ("ana@demo.example", [("", "ana@demo.example")]),
        ("Ana <ANA@demo.example>, ben@example.org", [("Ana", "ana@demo.example"), ("", "ben@example.org")]),
        ('"Pop, Ana" <ana@demo.example>', [("Pop, Ana", "ana@demo.example")]),
        ('"Ana \\"A\\" Pop" <ana@demo.example>', [('Ana "A" Pop', "ana@demo.example")]),
        ("=?utf-8?q?Ana_P=C4=83un=2C?= <ana@demo.example>", [("Ana Păun,", "ana@demo.example")]),
        ('"=?utf-8?b?QW5h?=" <ana@demo.example>', [("Ana", "ana@demo.example")]),
        ("Team: Ana <ana@demo.example>, ben@example.org;, c@example.org",
         [("Ana", "ana@demo.example"), ("", "ben@example.org"), ("", "c@example.org")]),
        ("undisclosed-recipients:;", []),
        ("ana(the (real) one)@demo.example (hello, \\) you)", [("hello, \\) you", "ana@demo.example")]),
        ("<@a.example,@b.example:ana@demo.example>", [("", "ana@demo.example")]),
        ("Ana < ana @ demo . example >", [("Ana", "ana@demo.example")]),
        ("Ana <ana@demo.example", [("Ana", "ana@demo.example")]),
        ("Ana ana@demo.example", [("Ana", "ana@demo.example")]),
        ("a@example.org; b@example.org", [("", "a@example.org"), ("", "b@example.org")]),
        ("MAILER-DAEMON <>", []),
        ("root@mail", [("", "root@mail")]),
        ('"ana pop"@example.org', [("", '"ana pop"@example.org')]),
        ('"ana"@example.org', [("", "ana@example.org")]),
        ("ana..pop@example.org", [("", '"ana..pop"@example.org')]),
        ("junk, ana@demo.example, (", [("", "ana@demo.example")]),
        ("Ana \u202egro.elpmaxe\x1b <ana@demo.example>", [("Ana gro.elpmaxe", "ana@demo.example")]),
        ("'ana@demo.example' <ana@demo.example>", [("'ana@demo.example'", "ana@demo.example")]),
    ],
)  # fmt: skip
def test_an_address_list_is_read(header: str, boxes: list[tuple[str, str]]) -> None:
    assert [(box.display_name, box.addr_spec) for box in parse_mailboxes(header)] == boxes


def test_no_more_than_the_limit_is_read() -> None:
    assert len(parse_mailboxes("ana@demo.example," * 20, limit=7)) == 7


@pytest.mark.parametrize(
    "hostile",
    [
        '"' * 60_001, '"' * 200_000, ".@" * 150_000, "(" * 60_000, "(" * 5_000 + ")" * 5_000, "<" * 200_000,
        '<"' * 100_001, '"\\' * 100_000, "\\<" * 100_000, "<\\" * 100_000, "ana@demo.example," * 50_000,
        "=?utf-8?q?a?= " * 20_000 + "<ana@demo.example>", ":" * 200_000, "a " * 100_000 + "@", "<a" * 100_000,
        '"a" <' * 50_000, "(a" * 50_000 + ")", "a@" + "b." * 100_000, ",".join(["ü@ü.example"] * 1000),
    ],
    ids=lambda text: text[:8],
)  # fmt: skip
def test_a_hostile_list_takes_no_time(hostile: str) -> None:
    started = time.process_time()
    parse_mailboxes(hostile)
    assert time.process_time() - started < 0.5


@given(st.text() | st.text('aé@.,;:<>()"\\ =?\r\n\x00[]'))
def test_any_text_gives_mailboxes_whose_headers_are_safe(text: str) -> None:
    for box in parse_mailboxes(text):
        octets = box.header()
        assert octets.isascii()
        assert octets.decode().isprintable()


@pytest.mark.parametrize(
    ("mailbox", "header"),
    [
        (Mailbox("Ana Pop", "ana@demo.example"), "Ana Pop <ana@demo.example>"),
        (Mailbox("", "ștefan@example.org"), "ștefan@example.org"),
        (Mailbox("Ștefan", "ștefan@example.org"), "=?utf-8?b?yJh0ZWZhbg==?= <ștefan@example.org>"),
    ],
)
def test_an_address_beyond_ascii_is_written_as_it_is_for_a_server_that_reads_it(
    mailbox: Mailbox, header: str
) -> None:
    assert mailbox.wide_header() == header.encode()
    [read] = parse_mailboxes(header)
    assert read == mailbox


def test_what_is_no_address_has_no_wide_header_either() -> None:
    with pytest.raises(AddressError):
        Mailbox("", "ș\r\nBcc: evil@example.org").wide_header()
