import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.address import Mailbox
from postroom.wire.compose import COPY_HEADER, Letter, Part, Template, compile_letter, dot_stuff, field
from postroom.wire.file_names import ascii_file_name, clean_file_name
from postroom.wire.header_lines import header_value
from postroom.wire.mime_writing import base64_octets, html_value, quoted_printable_octets, text_value
from postroom.wire.parse import parse

ANA = Mailbox("Ana Pop", "ana@demo.example")
BEN = Mailbox("Ben", "ben@example.org")
LETTER = Letter(
    from_=ANA,
    subject="Your offer",
    date=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    message_id="<own@demo.example>",
    references="<first@demo.example> <own@demo.example>",
    reply_to=Mailbox("Demo", "sales+abc@demo.example"),
    text="Hello,\nthe offer is 10 % lower.\n",
    html="<p>Hello,<br>the offer is 10 % lower.</p>",
)
VALUES = {b"to": BEN.header(), b"copy": b"mark"}
EVIL = "x\r\nBcc: evil@example.org\r\n\r\nbody \x00\x0b\x1b\x85\u2028 %(to)b %d é"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]))


def written(letter: Letter, **values: bytes) -> bytes:
    octets = compile_letter(letter, tuple(values)).substitute(
        VALUES | {name.encode(): value for name, value in values.items()}
    )
    assert octets.isascii()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", octets)
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    return octets


def read(octets: bytes) -> EmailMessage:
    return message_from_bytes(octets, policy=policy.default)


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n").removesuffix("\n")


def test_a_letter_reads_back() -> None:
    mail = read(written(LETTER))
    assert mail["From"] == "Ana Pop <ana@demo.example>"
    assert mail["To"] == "Ben <ben@example.org>"
    assert mail["Reply-To"] == "Demo <sales+abc@demo.example>"
    assert mail["Subject"] == "Your offer"
    assert mail["Message-ID"] == "<own@demo.example>"
    assert mail["References"] == "<first@demo.example> <own@demo.example>"
    assert mail["In-Reply-To"] == "<first@demo.example>"
    assert mail["Date"].datetime == LETTER.date
    assert mail[COPY_HEADER] == "mark"
    assert mail["MIME-Version"] == "1.0"
    assert mail.get_content_type() == "multipart/alternative"
    assert body(mail, "plain") == LETTER.text.removesuffix("\n")
    assert body(mail, "html") == LETTER.html


def test_a_letter_of_text_alone_is_one_part() -> None:
    mail = read(written(replace(LETTER, html="", references="")))
    assert mail.get_content_type() == "text/plain"
    assert mail["References"] is None
    assert mail["In-Reply-To"] is None


def test_pictures_and_files_travel_beside_the_alternatives() -> None:
    parts = (
        Part("Ofertă nr. 5.pdf", "application/pdf", b"%PDF\r\n.\r\n\x00\xff" * 50),
        Part("logo.png", "image/png", b"png", content_id="logo", inline=True),
        Part("", "text/csv; charset=utf-8", b"a,b"),
    )
    mail = read(written(replace(LETTER, attachments=parts)))
    assert mail.get_content_type() == "multipart/mixed"
    related, pdf, csv = mail.iter_parts()
    assert related.get_content_type() == "multipart/related"
    alternative, logo = related.iter_parts()
    assert alternative.get_content_type() == "multipart/alternative"
    assert (logo["Content-ID"], logo.get_content_disposition()) == ("<logo>", "inline")
    assert (pdf.get_filename(), pdf.get_content()) == ("Ofertă nr. 5.pdf", parts[0].content)
    assert csv.get_content_type() == "text/csv"
    assert csv.get_content() == "a,b"


@pytest.mark.parametrize(
    "name", ["Ș" * 200, "a" * 200, 'q"uo\\te.txt', "../../x.txt", "x\r\nBcc: y.txt", "%(to)b.txt"]
)
def test_a_file_name_reads_back_clean(name: str) -> None:
    octets = written(replace(LETTER, attachments=[Part(name, "text/plain", b"x")]))
    (part,) = read(octets).iter_attachments()
    found = part.get_filename()
    assert found
    assert found in (name, "te.txt", "x.txt", "x Bcc_ y.txt")
    assert read(octets)["Bcc"] is None


def test_a_mail_that_goes_along_stays_a_mail_if_it_can() -> None:
    inner = b"Subject: inner\r\n\r\nHello\r\n"
    mail = read(written(replace(LETTER, attachments=[Part("a.eml", "message/rfc822", inner)])))
    (part,) = mail.iter_attachments()
    assert part.get_content()["Subject"] == "inner"
    mail = read(
        written(replace(LETTER, attachments=[Part("a.eml", "message/rfc822", inner + b"\xff\x02to\x03\n")]))
    )
    (part,) = mail.iter_attachments()
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_content() == inner + b"\xff\x02to\x03\n"


@pytest.mark.parametrize(
    "letter",
    [
        replace(LETTER, subject=EVIL),
        replace(LETTER, subject=EVIL.encode("ascii", "ignore").decode()),
        replace(LETTER, from_=Mailbox(EVIL, "ana@demo.example")),
        replace(LETTER, sender=Mailbox(EVIL, "ana@demo.example")),
        replace(LETTER, reply_to=Mailbox(EVIL, "ana@demo.example")),
        replace(LETTER, message_id=f"<a@x>{EVIL}"),
        replace(LETTER, references=f"<a@x>{EVIL}<b@x>"),
        replace(LETTER, headers=[("X-Campaign", EVIL)]),
        replace(LETTER, headers=[("In-Reply-To", f"<a@x>{EVIL}")]),
        replace(LETTER, headers=[("List-Id", EVIL.encode("ascii", "ignore").decode())]),
        replace(LETTER, text=EVIL),
        replace(LETTER, html=EVIL),
        replace(LETTER, attachments=[Part(EVIL, "text/plain", b"x")]),
        replace(LETTER, attachments=[Part("a", EVIL, b"x")]),
        replace(LETTER, attachments=[Part("a", "text/plain", b"x", content_id=EVIL, inline=True)]),
        replace(LETTER, attachments=[Part("a", f"text/plain; name={EVIL}", b"x")]),
    ],
    ids=lambda letter: next(
        name
        for name in reversed(Letter.__dataclass_fields__)
        if getattr(letter, name) != getattr(LETTER, name)
    ),
)
def test_no_value_can_make_another_header(letter: Letter) -> None:
    octets = written(letter)
    usual = {
        line.split(b":")[0] for line in written(LETTER).split(b"\r\n\r\n")[0].split(b"\r\n") if line[0] != 32
    }
    header_block, _, rest = octets.partition(b"\r\n\r\n")
    names = {line.split(b":")[0] for line in header_block.split(b"\r\n") if line[0] != 32}
    assert names <= usual | {b"Sender", b"X-Campaign", b"List-Id", b"In-Reply-To"}
    assert all(part["Bcc"] is None for part in read(octets).walk())
    assert rest


@pytest.mark.parametrize(
    "name", ["X Y", "", "X:Y", "X\r\nY", "Bcc", "from", "Content-Type", "Ü", "X-Postroom-Copy"]
)
def test_a_header_that_would_do_harm_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header"):
        compile_letter(replace(LETTER, headers=[(name, "x")]))


def test_a_naive_date_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        compile_letter(replace(LETTER, date=LETTER.date.replace(tzinfo=None)))


def test_an_identifier_that_does_not_fit_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compile_letter(replace(LETTER, message_id=f"<{'a' * 1000}@x>"))


def test_references_stay_on_one_line_and_keep_the_nearest_that_fit() -> None:
    ids = [f"<{letter * 300}@demo.example>" for letter in "abcd"]
    octets = written(
        replace(LETTER, references=" ".join(ids), headers=[("Resent-Message-ID", " ".join(ids))])
    )
    assert f"\r\nReferences: {' '.join(ids[1:])}\r\n".encode() in octets
    assert f"\r\nIn-Reply-To: {ids[-1]}\r\n".encode() in octets
    assert f"\r\nResent-Message-ID: {' '.join(ids[1:])}\r\n".encode() in octets
    assert read(octets)["References"].split() == ids[1:]


@given(st.lists(st.text("abc.-", min_size=1, max_size=400), max_size=40))
def test_no_identification_header_is_ever_folded(unique: list[str]) -> None:
    ids = [f"<{each}@demo.example>" for each in unique]
    mail = written(replace(LETTER, references=" ".join(ids), headers=[("In-Reply-To", " ".join(ids[:2]))]))
    head = mail.partition(b"\r\n\r\n")[0].decode()
    for name in ("Message-ID", "References", "In-Reply-To"):
        assert not re.search(rf"^{name}:.*\r\n[ \t]", head, re.MULTILINE)
    found = re.search(r"^References: (.*)\r$", head, re.MULTILINE)
    kept = found[1].split() if found else []
    assert kept == ids[len(ids) - len(kept) :]
    assert parse(mail).references == kept[-32:]


def test_fields_are_put_in_for_each_recipient() -> None:
    letter = replace(
        LETTER,
        subject=field("subject"),
        text=f"Hello {field('text_name')}, 100 % yours.\n.\nBye",
        html=f"<p>Hello {field('html_name')}</p>",
        message_id=f"<{field('unique')}@demo.example>",
        headers=[("List-Unsubscribe", f"<https://demo.example/u/{field('unique')}>")],
    )
    template = compile_letter(letter, ["subject", "text_name", "html_name", "unique", "unused"])
    assert set(template.fields) == {"to", "copy", "subject", "text_name", "html_name", "unique"}
    values = VALUES | {
        b"subject": header_value("Pentru Ștefan\r\nBcc: x"),
        b"text_name": text_value("Ștefan =3D %s "),
        b"html_name": html_value("<b>Ștefan</b>"),
        b"unique": header_value("u-1"),
    }
    mail = read(template.substitute(values))
    assert mail["Subject"] == "Pentru Ștefan Bcc: x"
    assert body(mail, "plain") == "Hello Ștefan =3D %s , 100 % yours.\n.\nBye"
    assert body(mail, "html") == "<p>Hello &lt;b&gt;Ștefan&lt;/b&gt;</p>"
    assert mail["Message-ID"] == "<u-1@demo.example>"
    assert mail["List-Unsubscribe"] == "<https://demo.example/u/u-1>"


def test_a_field_that_was_not_declared_is_taken_out() -> None:
    template = compile_letter(replace(LETTER, text=f"a{field('copy')}b", subject=field("to")))
    mail = read(template.substitute(VALUES))
    assert template.fields == ("to", "copy")
    assert body(mail, "plain") == "a b"
    assert mail["Subject"] == ""


@pytest.mark.parametrize(
    "subject", [f"Für {field('a')}", f"{field('a')}{field('b')}{field('c')}", field("a") + "x" * 999]
)
def test_a_field_where_its_line_could_break_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="field"):
        compile_letter(replace(LETTER, subject=subject), ["a", "b", "c"])


def test_a_field_needs_a_plain_name() -> None:
    with pytest.raises(ValueError, match="lower-case"):
        field("to)b %(x")


def test_a_missing_value_is_an_error_and_not_an_empty_mail() -> None:
    with pytest.raises(KeyError):
        compile_letter(LETTER).substitute({b"to": b"x@example.org"})


def test_the_same_letter_gives_the_same_octets() -> None:
    assert compile_letter(LETTER) == compile_letter(LETTER)
    assert compile_letter(LETTER) != compile_letter(replace(LETTER, text="other"))


@given(TEXT, TEXT, TEXT, TEXT)
def test_any_text_reads_back(subject: str, name: str, text: str, html: str) -> None:
    letter = replace(
        LETTER, subject=subject, from_=Mailbox(name, "ana@demo.example"), text=text, html=f"<p>{html}"
    )
    octets = written(letter)
    mail = read(octets)
    assert body(mail, "html") == f"<p>{html}"
    assert not text or body(mail, "plain") == text
    assert mail["From"].addresses[0].addr_spec == "ana@demo.example"
    compat = message_from_bytes(octets)
    assert compat.get_content_type() == ("multipart/alternative" if text else "text/html")


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]) | st.just(" "), max_size=3000))
def test_any_subject_and_any_further_header_reads_back(subject: str) -> None:
    subject = " ".join(subject.split())
    octets = written(replace(LETTER, subject=subject, headers=[("X-Campaign", subject)]))
    mail = read(octets)
    assert mail["Subject"] == subject
    assert mail["X-Campaign"] == subject
    assert parse(octets).headers.text("Subject") == subject
    encoded = [line for line in octets.partition(b"\r\n\r\n")[0].split(b"\r\n") if b"=?utf-8?" in line]
    assert all(len(line) <= 76 for line in encoded)
    assert all(len(word) <= 75 for line in encoded for word in line.split() if word.startswith(b"=?"))


def test_a_name_that_not_everybody_can_read_stands_beside_in_ascii() -> None:
    octets = written(replace(LETTER, attachments=[Part("Ofertă “nr. 5”.pdf", "application/pdf", b"x")]))
    assert b'Content-Type: application/pdf;\r\n name="Oferta nr. 5.pdf"\r\n' in octets
    assert b"filename*0*=utf-8''Ofert%C4%83" in octets
    assert next(read(octets).iter_attachments()).get_filename() == "Ofertă “nr. 5”.pdf"


@pytest.mark.parametrize(
    ("name", "spare"),
    [("报价.pdf", "file.pdf"), ("é", "e"), ("报价", "file"), ("a.b", ""), ("a%b.txt", "a_b.txt")],
)
def test_the_name_in_ascii_keeps_its_ending(name: str, spare: str) -> None:
    assert ascii_file_name(name) == spare


@given(TEXT)
def test_any_file_name_reads_the_same_to_two_readers(name: str) -> None:
    octets = written(replace(LETTER, attachments=[Part(name, "application/pdf", b"x")]))
    (ours,) = parse(octets).attachments
    (theirs,) = read(octets).iter_attachments()
    assert ours.name == (clean_file_name(name) or "document.pdf")
    assert (theirs.get_filename() or "document.pdf") == ours.name


@given(st.lists(TEXT | st.just(field("v")), max_size=5), TEXT)
def test_any_value_in_any_text_reads_back(pieces: list[str], value: str) -> None:
    text = "".join(pieces)
    letter = replace(LETTER, text=text or "x", html="")
    mail = read(written(letter, v=text_value(value)))
    assert body(mail, "plain") == (text or "x").replace(field("v"), value)


@given(st.binary())
def test_a_mail_already_written_keeps_its_octets(raw: bytes) -> None:
    octets = Template.literal(raw).substitute({})
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", octets)
    assert octets.replace(b"\r\n", b"") == re.sub(rb"[\r\n\x00]", b"", raw)


@given(st.lists(st.sampled_from([b".", b"..", b"a", b"\r\n", b".\r\n", b"\r\n.\r\n"])).map(b"".join))
def test_no_line_with_a_lone_dot_reaches_the_wire(octets: bytes) -> None:
    stuffed = dot_stuff(octets)
    assert b"\r\n.\r\n" not in b"\r\n" + stuffed
    assert stuffed == b"" or stuffed.endswith(b"\r\n")
    unstuffed = b"\r\n".join(
        line.removeprefix(b".") if line[:1] == b"." else line for line in stuffed.split(b"\r\n")
    )
    assert unstuffed in (octets, octets + b"\r\n")


@given(st.integers(1, 3000))
def test_the_room_that_a_file_takes_is_known_beforehand(count: int) -> None:
    part = Part("a.bin", "application/octet-stream", b"x" * count)
    with_file = written(replace(LETTER, html="", attachments=[part]))
    assert len(with_file.partition(b"base64\r\n\r\n")[2].partition(b"--=_")[0]) == base64_octets(count)


@given(TEXT)
def test_the_room_that_a_body_takes_is_known_beforehand(text: str) -> None:
    octets = written(replace(LETTER, text=text or "x", html="")).partition(b"\r\n\r\n")[2]
    assert len(octets) == quoted_printable_octets(text or "x") + 2
