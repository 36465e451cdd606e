import base64
import random
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.address import Mailbox
from postroom.wire.compose import Letter, Template, compile_letter
from postroom.wire.parse import Limits, ParsedEmail, Part, parse, scan_headers
from tests.wire.letters import FOLDER, letter


def of(name: str) -> ParsedEmail:
    return parse(letter(name))


def test_a_plain_letter_is_read() -> None:
    mail = of("plain")
    assert mail.subject == "A question"
    assert mail.from_ == Mailbox("Carla Ionescu", "carla@example.org")
    assert mail.to == [Mailbox("Demo Sales", "sales@demo.example")]
    assert mail.date == datetime(2026, 3, 4, 7, 15, tzinfo=UTC)
    assert mail.message_id == "<carla-1@example.org>"
    assert mail.text == "Hello,\n\ndo you deliver to Cluj?\n\nCarla\n"
    assert mail.html is None
    assert mail.attachments == []
    assert mail.defects == []
    assert mail.size == len(letter("plain"))


def test_of_alternatives_both_are_read() -> None:
    mail = of("html-alternative")
    assert mail.subject == "Ofertă pentru birou"
    assert mail.cc == [Mailbox("Pop, Ben", "ben@example.org")]
    assert mail.text == "Bună ziua,\naștept oferta.\n"
    assert "aștept <b>oferta</b>" in (mail.html or "")
    assert mail.attachments == []


def test_files_keep_their_names_and_octets_and_html_becomes_text() -> None:
    mail = of("attachment-rfc2231")
    assert mail.text == "Signed, see below.\n\n10 > 9 & more"
    pdf, logo = mail.attachments
    assert (pdf.name, pdf.content_type, pdf.inline) == (
        "Ofertă semnată — birou.pdf",
        "application/pdf",
        False,
    )
    assert pdf.content == b"%PDF-1.4\n" + bytes(range(256))
    assert (logo.name, logo.content_id, logo.inline) == ("siglă.png", "logo@example.org", True)


@pytest.mark.parametrize(
    ("name", "subject", "text"),
    [
        ("latin-1", "¿Precio?", "¿Cuánto cuesta el envío a España?\nAño nuevo.\n"),
        ("windows-1252", "Raw “quotes” – unencoded", "The “best” offer – 100 €…\n"),
        ("iso-2022-jp", "見積もりのお願い", "こんにちは、見積もりをお願いします。\n"),
        ("unknown-charset", "Qapla'", "Mulțumesc, naïve façade.\n"),
        ("bare-lf", "Bare LF", "Only line feeds."),
    ],
)
def test_every_charset_and_line_end_is_read(name: str, subject: str, text: str) -> None:
    mail = of(name)
    assert (mail.subject, mail.text) == (subject, text)


def test_a_reply_names_its_ancestors() -> None:
    mail = of("reply-en")
    assert mail.in_reply_to == ["<own@demo.example>"]
    assert mail.references == ["<first@demo.example>", "<own@demo.example>"]


def test_a_letter_without_message_id_or_date_says_so() -> None:
    mail = of("no-message-id")
    assert (mail.message_id, mail.date) == (None, None)
    assert mail.from_ == Mailbox("", "scanner@localhost")
    assert mail.text == "See the copier.\n"


def test_broken_base64_is_read_as_far_as_it_goes() -> None:
    mail = of("broken-base64")
    assert mail.text == "Hello world"
    (part,) = mail.attachments
    assert (part.name, part.content) == ("Data.bin", bytes(range(5)))
    assert mail.defects == ["no-closing-boundary", "broken-base64"]


def test_a_report_keeps_its_parts() -> None:
    mail = of("dsn-two-recipients")
    assert "could not" in mail.text
    assert [part.content_type for part in mail.attachments] == ["message/delivery-status", "message/rfc822"]
    assert mail.attachments[1].name == "Your offer.eml"


def test_all_headers_are_kept_and_found_in_any_case() -> None:
    headers = scan_headers(
        b"Received: a\r\nreceived: b\r\n\tc\r\nX-Empty:\r\nSubject: =?utf-8?q?a?=\r\n\r\nX-Body: no\r\n"
    )
    assert headers.get_all("RECEIVED") == ["a", "b c"]
    assert headers.get("subject") == "=?utf-8?q?a?="
    assert headers.text("subject") == "a"
    assert headers.get("X-Empty") == ""
    assert "x-empty" in headers
    assert "X-Body" not in headers
    assert headers.get("X-Body") is None
    assert len(list(headers)) == len(headers) == 4


def test_everybody_the_headers_name_is_seen_once() -> None:
    mail = parse(
        b"To: Ana <ana@demo.example>\r\nTo: ben@example.org\r\nCc: ANA@demo.example\r\n"
        b"Delivered-To: sales@demo.example\r\nX-Original-To: sales@demo.example\r\n"
        b"Resent-Cc: olga@demo.example\r\n\r\n"
    )
    assert [box.addr_spec for box in mail.recipients_seen] == [
        "ana@demo.example", "ben@example.org", "sales@demo.example", "olga@demo.example"
    ]  # fmt: skip
    assert len(mail.to) == 2


@pytest.mark.parametrize(
    "date", ["Mon, 99 Foo 2026", "", "x" * 5000, "Fri, 31 Dec 9999 23:59:59 -1200", "0 0 0 0 0"]
)
def test_an_unreadable_date_is_none(date: str) -> None:
    mail = parse(f"Date: {date}\r\n\r\n".encode())
    assert (mail.date, mail.defects) == (None, ["unreadable-date"])


def test_a_date_without_zone_is_aware() -> None:
    assert parse(b"Date: Wed, 4 Mar 2026 09:15:00\r\n\r\n").date == datetime(2026, 3, 4, 9, 15, tzinfo=UTC)
    east = parse(b"Date: Wed, 4 Mar 2026 09:15:00 +0200\r\n\r\n").date
    assert east is not None
    assert east.utcoffset() == timedelta(hours=2)


MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def mixed(*parts: bytes) -> bytes:
    return MIXED + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def test_texts_that_follow_each_other_are_joined() -> None:
    mail = parse(mixed(b"\r\nfirst", b"Content-Type: text/html\r\n\r\n<p>second</p>", b"\r\nfooter"))
    assert mail.text == "first\nsecond\nfooter"
    assert mail.html == "<pre>first</pre>\n<p>second</p>\n<pre>footer</pre>"
    assert mail.attachments == []


def test_a_text_file_is_an_attachment_unless_nothing_else_can_be_read() -> None:
    named = b'Content-Type: text/plain; name="a.txt"\r\n\r\nfile'
    mail = parse(mixed(b"\r\nbody", named))
    assert (mail.text, [part.name for part in mail.attachments]) == ("body", ["a.txt"])
    assert parse(named).text == "file"
    assert parse(b"Content-Disposition: attachment\r\n\r\nfile").attachments == [
        Part("part.txt", "text/plain", b"file")
    ]


def test_an_empty_plain_alternative_gives_way_to_the_html() -> None:
    octets = mixed(b"\r\n \r\n", b"Content-Type: text/html\r\n\r\n<p>words</p>").replace(
        b"mixed", b"alternative"
    )
    assert parse(octets).text == "words"


def test_a_boundary_that_begins_another_is_told_apart() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\ninner\r\n--bb--\r\n"
    assert parse(mixed(inner, b"\r\nouter")).text == "inner\nouter"


def test_a_lost_boundary_parameter_is_found_in_the_body() -> None:
    mail = parse(mixed(b"\r\nbody").replace(b"; boundary=b", b""))
    assert (mail.text, mail.defects) == ("body", ["no-boundary"])


def test_a_boundary_that_never_comes_leaves_the_body_as_text() -> None:
    mail = parse(MIXED + b"just words")
    assert (mail.text, mail.defects) == ("just words", ["boundary-not-found"])


def test_a_mail_inside_is_a_file_and_not_opened() -> None:
    mail = parse(
        mixed(b"\r\nsee", b"Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n\r\nx")
    )
    (part,) = mail.attachments
    assert (part.name, part.content_type) == ("Café.eml", "message/rfc822")


def test_the_mails_of_a_digest_are_files() -> None:
    octets = mixed(b"\r\nSubject: one\r\n\r\nx", b"\r\nSubject: two\r\n\r\ny").replace(b"mixed", b"digest")
    assert [part.name for part in parse(octets).attachments] == ["one.eml", "two.eml"]


def test_a_picture_is_inline_only_if_the_html_shows_it() -> None:
    picture = b"Content-Type: image/png\r\nContent-ID: <%s>\r\n\r\nx"
    mail = parse(mixed(b"Content-Type: text/html\r\n\r\n<img src='cid:a'>", picture % b"a", picture % b"b"))
    assert [part.inline for part in mail.attachments] == [True, False]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\temp\\\\x.exe", "x.exe"),
        ("a\x00b.txt", "a b.txt"),
        ("exe.\u202efdp", "exe. fdp"),
        ("x" * 5000 + ".pdf", "x" * 196 + ".pdf"),
        ("=?utf-8?q?a=2F=2E=2E=2Fb.txt?=", "b.txt"),
        ('<b>"x".txt', "_b__x_.txt"),
        ("...", "attachment.bin"),
    ],
)
def test_a_file_name_is_cleaned(written: str, shown: str) -> None:
    quoted = written.replace('"', '\\"')
    (part,) = parse(
        b"Content-Type: application/x-thing\r\n"
        + f'Content-Disposition: attachment; filename="{quoted}"\r\n\r\nx'.encode()
    ).attachments
    assert part.name == shown


def test_utf_7_is_never_read_as_markup() -> None:
    mail = parse(b"Content-Type: text/html; charset=utf-7\r\n\r\n+ADw-script+AD4-alert(1)")
    assert "<script" not in (mail.html or "")


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<style>x</style><script>if (a < b) y</script>z", "z"),
        ("<!-- <p>no</p> -->yes", "yes"),
        ("<!-- never closed", "<!-- never closed"),
        ("<script>never closed", "never closed"),
        ("&#99999999999;&lt;b&gt;&nbsp;x", "\ufffd<b> x"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
    ],
)
def test_html_alone_becomes_text(markup: str, text: str) -> None:
    assert parse(f"Content-Type: text/html\r\n\r\n{markup}".encode()).text == text


def nested(kind: bytes, depth: int) -> bytes:
    if kind == b"message":
        return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"\r\nx"
    heads = (
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(depth)
    )
    return b"".join(heads) + b"\r\nx"


BOMBS = {
    "multipart 1,000 deep": (nested(b"multipart", 1000), "nested-too-deep"),
    "multipart 20,000 deep": (nested(b"multipart", 20_000), "nested-too-deep"),
    "one boundary 20,000 deep": (MIXED + b"--b\r\n" + (MIXED + b"--b\r\n") * 20_000, "too-many-parts"),
    "message 1,000 deep": (nested(b"message", 1000), None),
    "message 20,000 deep": (nested(b"message", 20_000), None),
    "5,000 nested comments": (b"From: " + b"(" * 5000 + b")" * 5000 + b" ana@demo.example\r\n\r\nx", None),
    "200,000 open comments": (b"From: " + b"(" * 200_000 + b"\r\n\r\nx", "header-too-long"),
    "200,000 quote marks": (b"From: " + b'"' * 200_000 + b"\r\n\r\nx", "header-too-long"),
    "60,000 quote marks": (b"From: " + b'"' * 60_001 + b"\r\n\r\nx", None),
    "20,000 encoded words": (
        b"Subject: " + b"=?utf-8?q?abcdefgh?= " * 20_000 + b"\r\n\r\nx",
        "header-block-too-long",
    ),
    "50,000 parameters": (b"Content-Type: text/plain" + b"; a=b" * 50_000 + b"\r\n\r\nx", "header-too-long"),
    "10,000 parameters": (
        b"Content-Type: text/plain" + b"; a=b" * 10_000 + b"\r\n\r\nx",
        "too-many-parameters",
    ),
    "escaped quotes in parameters": (b'Content-Type: text/plain; a="' + b'\\"' * 30_000 + b"\r\n\r\nx", None),
    "escaped quotes outside": (b"Content-Type: text/plain; a" + b'\\""' * 20_000 + b"\r\n\r\nx", None),
    "100,000 parts": (MIXED + b"--b\r\n\r\nx\r\n" * 100_000 + b"--b--\r\n", "too-many-parts"),
    "5,000,000 false boundaries": (MIXED + b"--bx\r\n" * 5_000_000, "boundary-not-found"),
    "NUL in charset": (b'Content-Type: text/plain; charset="a\0b"\r\n\r\nx', None),
    "charset zip": (b"Content-Type: text/plain; charset=zip\r\n\r\n" + b"x" * 1000, None),
    "charset idna": (b"Content-Type: text/plain; charset=idna\r\n\r\nx\xff", None),
    "charset with a long name": (b"Content-Type: text/plain; charset=" + b"x" * 50_000 + b"\r\n\r\nx", None),
    "subject of 1 MB": (b"Subject: " + b"x " * 500_000 + b"\r\n\r\nx", "header-block-too-long"),
    "To of 50,000": (b"To: " + b"ana@demo.example, " * 50_000 + b"\r\n\r\nx", "too-many-addresses"),
    "300 kB of dots and ats": (b"To: " + b".@" * 150_000 + b"\r\n\r\nx", "header-too-long"),
    "200,000 headers": (b"X: y\r\n" * 200_000 + b"\r\nx", "header-block-too-long"),
    "spaces": (b"Content-Type: " + b" " * 60_000 + b"=\r\n\r\nx", None),
    "folds": (b"Subject: a\r\n" + b" \r\n" * 60_000 + b"\r\nx", None),
    "10 MB of line ends": (b"A: b\r\n" + b"\r" * 10_000_000, None),
    "40 MB without an end": (MIXED + b"--b\r\n\r\n" + b"x" * 40_000_000, "text-too-long"),
    "40 MB of base64": (
        b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 10_000_000,
        None,
    ),
    "60 MB": (b"Subject: x\r\n\r\n" + b"\r\n" * 30_000_000, "mail-too-large"),
    "200,000 tags": (b"Content-Type: text/html\r\n\r\n" + b"<script></script><svg>" * 90_000, None),
    "open tags": (b"Content-Type: text/html\r\n\r\n" + b"<a " * 600_000, None),
    "open comments": (b"Content-Type: text/html\r\n\r\n" + b"<!--" * 500_000, None),
    "long entities": (
        b"Content-Type: text/html\r\n\r\n" + b"&#" + b"9" * 1_000_000 + b";" + b"&" * 500_000,
        None,
    ),
    "references": (b"References: " + b"<" * 60_000 + b"\r\n\r\n", None),
    "boundary of dashes": (
        b"Content-Type: multipart/mixed; boundary=" + b"-" * 70 + b"\r\n\r\n" + b"-" * 5_000_000,
        "boundary-not-found",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_mail_is_read_within_two_seconds(name: str) -> None:
    octets, defect = BOMBS[name]
    started = time.process_time()
    mail = parse(octets)
    assert time.process_time() - started < 2
    assert defect is None or defect in mail.defects


@pytest.mark.skipif(sys.platform == "win32", reason="counts memory as Unix does")
def test_hostile_mail_costs_less_than_200_megabytes() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for octets, _ in BOMBS.values():
        parse(octets)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * (1024 if sys.platform != "darwin" else 1024 * 1024)


def test_deeply_nested_mail_is_shown_as_it_came() -> None:
    assert "boundary=b60" in parse(nested(b"multipart", 100)).text


def test_limits_can_be_set() -> None:
    mail = parse(b"Subject: long\r\n\r\n" + b"x" * 100, Limits(mail_octets=20, text_octets=2))
    assert (mail.text, mail.size) == ("xx", 117)
    assert mail.defects == ["mail-too-large", "text-too-long"]


def seems_sound(mail: ParsedEmail) -> None:
    assert len(mail.subject) <= 998
    assert not {"\0", "\r", "\n"} & set(mail.subject)
    assert "\0" not in mail.text
    assert "\r" not in mail.text
    assert mail.date is None or mail.date.tzinfo is not None
    assert all(len(part.name) <= 200 and "/" not in part.name for part in mail.attachments)
    mail.text.encode()


@given(st.binary())
def test_any_octets_are_read(octets: bytes) -> None:
    seems_sound(parse(octets))


@given(
    st.lists(
        st.sampled_from(
            [
                b"Content-Type: ",
                b"multipart/mixed",
                b"; boundary=b",
                b"\r\n",
                b"\n",
                b"--b",
                b"--",
                b"text/html",
                b"Content-Transfer-Encoding: base64",
                b"quoted-printable",
                b"=?utf-8?b?",
                b"?=",
                b"; charset=",
                b"utf-16",
                b"Content-Disposition: attachment; filename",
                b"*0*=",
                b"*=",
                b"utf-8''%",
                b"From: ",
                b"<",
                b">",
                b"@",
                b"Date: ",
                b"1 Jan 2026 00:00",
                b" -9999",
                b"\xff",
                b"\0",
                b"a",
                b"A=",
                b":",
                b'"',
                b"\\",
                b"Subject: ",
            ]
        )
    ).map(b"".join)
)
def test_any_pieces_of_mail_are_read(octets: bytes) -> None:
    mail = parse(octets)
    seems_sound(mail)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.eml")), ids=lambda path: path.stem)
def test_every_letter_survives_any_damage(path: Path) -> None:
    whole = path.read_bytes()
    seems_sound(parse(whole))
    chance = random.Random(path.stem)
    for _ in range(100):
        octets = bytearray(whole)
        for _ in range(chance.randrange(1, 20)):
            at = chance.randrange(len(octets))
            octets[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        seems_sound(parse(bytes(octets)))


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp", "Zs"])),
    st.binary(max_size=200),
)
def test_what_we_write_we_read(text: str, content: bytes) -> None:
    ana = Mailbox("Ana", "ana@demo.example")
    written = compile_letter(
        Letter(
            from_=ana,
            subject=text[:900],
            date=datetime(2026, 3, 4, tzinfo=UTC),
            message_id="<a@demo.example>",
            references="<p@demo.example> <a@demo.example>",
            text=text,
            html=f"<p>{text}",
            attachments=[Part("f.bin", "application/x-thing", content)],
        )
    )
    mail = parse(written.substitute({b"to": ana.header(), b"copy": b"x"}))
    assert (mail.subject, mail.html) == (text[:900], f"<p>{text}")
    assert not text or mail.text == text
    assert (mail.from_, mail.to, mail.message_id) == (ana, [ana], "<a@demo.example>")
    assert mail.attachments == [Part("f.bin", "application/x-thing", content)]
    assert mail.defects == []


def test_a_literal_mail_reads_the_same() -> None:
    for path in FOLDER.glob("*.eml"):
        octets = path.read_bytes()
        assert parse(Template.literal(octets).substitute({})).text == parse(octets).text


def test_base64_of_any_length_is_read() -> None:
    for length in range(10):
        octets = b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(b"x" * length).rstrip(b"=")
        assert parse(octets).text == "x" * length
