"""A program hands over a mail that is ready."""

from __future__ import annotations

import email
import email.policy
from typing import Any

import pytest

from postroom.conversations.models import Address, Contact
from postroom.flows.posting import PostRefused, submit
from postroom.outgoing.models import Email, Rendition
from postroom.wire.address import AddressError
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import AcrossTheWall
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
RAW = (
    b"From: Shop <shop@demo.postroom.localhost>\r\nTo: ben@example.org\r\nBcc: carla@example.com\r\n"
    b"Subject: Your order, 5 % off\r\nMessage-ID: <order-1@shop.example>\r\nDate: 21 Nov 2026 10:00 +0000\r\n"
    b"\r\nThank you.\r\n"
)
BOTH = ["ben@example.org", "Carla@Example.com"]


def sent(people: Cast, raw: bytes = RAW, to: list[str] = BOTH, **more: Any) -> tuple[Any, Any]:
    """The message, and the mail as its recipients get it."""
    given = {"reverse_path": "shop@demo.example", "forward_paths": to, "member": people.ana, **more}
    message = submit(people.workspace, raw, **given)
    octets = bytes(Rendition.objects.get(message=message).octets) % {b"to": b"nobody", b"copy": b"mark"}
    return message, email.message_from_bytes(octets, policy=email.policy.default)


def test_everybody_in_the_envelope_gets_an_email_of_their_own(people: Cast) -> None:
    message, _ = sent(people, to=[*BOTH, "ben@example.org"])
    rows = Email.objects.filter(message=message).order_by("address__addr_spec")
    assert [(row.address.addr_spec, row.contact) for row in rows] == [
        ("ben@example.org", people.ben),
        ("carla@example.com", people.carla),
    ]
    assert message.tally.total_count == 2


def test_the_mail_stays_as_it_is_but_for_the_blind_copies(people: Cast) -> None:
    message, mail = sent(people)
    assert mail["Bcc"] is None
    assert (mail["From"], mail["To"]) == ("Shop <shop@demo.postroom.localhost>", "ben@example.org")
    assert (mail["Subject"], mail["Message-ID"]) == ("Your order, 5 % off", "<order-1@shop.example>")
    assert mail.get_content().split() == ["Thank", "you."]
    assert (message.message_id, message.text) == ("<order-1@shop.example>", "Thank you.")


def test_each_copy_is_marked(people: Cast) -> None:
    assert sent(people)[1]["X-Postroom-Copy"] == "mark"


def test_a_missing_message_id_and_date_are_added(people: Cast) -> None:
    message, mail = sent(people, b"From: a@demo.postroom.localhost\nSubject: x\n\nhello\n")
    assert mail["Message-ID"] == message.message_id
    assert mail["Date"] is not None


def test_a_from_that_is_not_ours_goes_out_from_ours_and_is_answered_directly(people: Cast) -> None:
    message, mail = sent(
        people, RAW.replace(b"Shop <shop@demo.postroom.localhost>", b"Zoe <zoe@gmail.example>")
    )
    assert mail["From"] == f"Zoe <notifications@{people.domain}>"
    assert mail["Reply-To"] == "Zoe <zoe@gmail.example>"
    assert message.author.addr_spec == "zoe@gmail.example"


def test_an_answer_address_that_was_given_stays(people: Cast) -> None:
    raw = b"Reply-To: desk@shop.example\r\nFrom: zoe@gmail.example\r\nSubject: x\r\n\r\nhello"
    assert sent(people, raw)[1].get_all("Reply-To") == ["desk@shop.example"]


def test_a_mail_on_a_record_appears_in_its_conversation(people: Cast) -> None:
    message, _ = sent(people, record=people.record)
    assert list(people.record.messages.all()) == [message]


def test_attached_files_are_kept(people: Cast) -> None:
    from email.message import EmailMessage

    mail = EmailMessage()
    mail["From"] = "shop@demo.postroom.localhost"
    mail.set_content("See the file.")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="offer.pdf")
    message, got = sent(people, mail.as_bytes())
    assert [str(attachment) for attachment in message.attachments.all()] == ["offer.pdf"]
    assert [part.get_filename() for part in got.iter_attachments()] == ["offer.pdf"]


def test_nobody_to_send_to_is_refused(people: Cast) -> None:
    with pytest.raises(PostRefused, match="at least one"):
        sent(people, to=[])


def test_an_address_that_is_none_is_refused(people: Cast) -> None:
    with pytest.raises(AddressError):
        sent(people, to=["not an address"])


def test_a_neighbours_record_is_out_of_reach(people: Cast) -> None:
    with pytest.raises(AcrossTheWall):
        sent(people, record=cast("neighbour").record)


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"no header at all", b"\r\n\r\nbody only", b"\xff\x00\xfe" * 50]
)
def test_octets_that_are_hardly_a_mail_are_still_sent(people: Cast, raw: bytes) -> None:
    message, mail = sent(people, raw)
    assert mail["Message-ID"] == message.message_id
    assert mail["From"].endswith(f"<notifications@{people.domain}>")


@pytest.mark.parametrize(
    "fields",
    [
        b"From: shop@demo.postroom.localhost\r\nFrom: boss@bank.example\r\n",
        b"From: shop@demo.postroom.localhost, boss@bank.example\r\n",
        b"From: shop@demo.postroom.localhost\r\nfrom : boss@bank.example\r\n",
    ],
)
def test_a_second_author_is_not_let_through(people: Cast, fields: bytes) -> None:
    _, mail = sent(people, fields + b"Subject: x\r\n\r\nhello")
    assert mail.get_all("From") == ["shop@demo.postroom.localhost"]


def test_of_fields_that_may_stand_once_the_first_stays(people: Cast) -> None:
    raw = RAW.replace(
        b"Subject: ", b"Subject: first\r\nReply-To: a@x.example\r\nReply-To: b@x.example\r\nSubject: "
    )
    _, mail = sent(people, raw)
    assert mail.get_all("Subject") == ["first"]
    assert mail.get_all("Reply-To") == ["a@x.example"]


def test_letters_beyond_ascii_in_a_header_are_written_as_words(people: Cast) -> None:
    raw = RAW.replace(b"Your order, 5 % off", "Ofertă pentru Ștefan 5 %".encode())
    message, mail = sent(people, raw)
    assert mail["Subject"] == "Ofertă pentru Ștefan 5 %"
    assert bytes(Rendition.objects.get(message=message).octets).partition(b"\r\n\r\n")[0].isascii()


def test_an_author_whom_few_servers_could_name_goes_out_from_ours(people: Cast) -> None:
    raw = RAW.replace(
        b"Shop <shop@demo.postroom.localhost>", "Ștefan <ștefan@demo.postroom.localhost>".encode()
    )
    _, mail = sent(people, raw)
    assert [str(box) for box in mail["From"].addresses] == [f"Ștefan <notifications@{people.domain}>"]
    assert mail["Reply-To"] is None


def test_a_message_id_that_fits_no_line_is_replaced_and_still_known(people: Cast) -> None:
    long = f"<{'a' * 950}@shop.example>"
    message, mail = sent(people, RAW.replace(b"<order-1@shop.example>", long.encode()))
    assert mail["Message-ID"] == message.message_id != long
    assert [alias.alias for alias in message.id_aliases.all()] == [long]


def test_a_mail_that_says_how_it_came_about_keeps_its_own_words(people: Cast) -> None:
    assert sent(people)[1]["Auto-Submitted"] is None
    _, mail = sent(
        people, RAW.replace(b"Subject", b"Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\nSubject")
    )
    assert (mail["Auto-Submitted"], mail["Precedence"]) == ("auto-replied", "bulk")
    assert mail["X-Auto-Response-Suppress"] is None


# In whose name a program may speak.


def from_of(people: Cast, line: bytes, **more: Any) -> tuple[str, Any]:
    message, mail = sent(people, line + b"\r\nTo: ben@example.org\r\nSubject: x\r\n\r\nhello", **more)
    return bytes(Rendition.objects.get(message=message).octets).decode(), mail


@pytest.mark.parametrize(
    ("line", "written"),
    [
        (b"From: <ceo@bank.example> <x@demo.postroom.localhost>", "x@demo.postroom.localhost"),
        (b"From: ceo@bank.example <x@demo.postroom.localhost>", "x@demo.postroom.localhost"),
        (b'From: "CEO <ceo@bank.example>" <x@demo.postroom.localhost>', "CEO <x@demo.postroom.localhost>"),
        (
            b"From: =?utf-8?q?CEO_=3Cceo=40bank.example=3E?= <x@demo.postroom.localhost>",
            "CEO <x@demo.postroom.localhost>",
        ),
        (b"From: x@demo.postroom.localhost (ceo@bank.example)", "x@demo.postroom.localhost"),
        (b'From: "CEO <ceo@bank.example>" <x@evil.example>', "CEO <notifications@demo.postroom.localhost>"),
    ],
)
def test_a_from_in_which_readers_find_two_addresses_is_written_anew(
    people: Cast, line: bytes, written: str
) -> None:
    octets, _ = from_of(people, line)
    head = octets.partition("\r\n\r\n")[0]
    assert [each for each in head.split("\r\n") if each.lower().startswith("from")] == [f"From: {written}"]
    assert "bank.example" not in head


@pytest.mark.parametrize(
    "line",
    [
        b'From: "Shop, 5 percent" <x@demo.postroom.localhost>',
        b"From: =?utf-8?q?=C8=98?= <X@Demo.postroom.localhost>",
    ],
)
def test_a_plain_from_of_ours_stays_octet_for_octet(people: Cast, line: bytes) -> None:
    octets, _ = from_of(people, line)
    assert f"\r\n{line.decode()}\r\n" in octets


@pytest.mark.parametrize(
    ("sender", "kept"),
    [
        (b"desk@demo.postroom.localhost", "desk@demo.postroom.localhost"),
        (b"ceo@bank.example", None),
        (b"olga@demo.postroom.localhost", None),
        (b"a@demo.postroom.localhost, ceo@bank.example", None),
        (b"<ceo@bank.example> <a@demo.postroom.localhost>", "a@demo.postroom.localhost"),
    ],
)
def test_a_sender_stays_where_it_might_be_from(people: Cast, sender: bytes, kept: str | None) -> None:
    give_own_address(people.olga, "olga@demo.postroom.localhost")
    _, mail = from_of(people, b"From: x@demo.postroom.localhost\r\nSender: " + sender)
    assert mail["Sender"] == kept


def give_own_address(member: Member, addr_spec: str) -> None:
    contact = Contact.objects.get(member=member)
    contact.address = Address.of(member.workspace, addr_spec)
    contact.save()


OLGA = "olga@demo.postroom.localhost"


def test_a_member_does_not_send_as_another_member(people: Cast) -> None:
    give_own_address(people.olga, OLGA)
    message, mail = sent(people, RAW.replace(b"Shop <shop@", b"Olga Ionescu <olga@"))
    assert mail["From"] == f"Olga Ionescu <notifications@{people.domain}>"
    assert mail["Reply-To"] == f"Olga Ionescu <{OLGA}>"
    assert message.author == people.ana_contact


def test_an_administrators_program_and_the_member_themself_may_use_a_members_address(people: Cast) -> None:
    give_own_address(people.ana, "ana@demo.postroom.localhost")
    give_own_address(people.olga, OLGA)
    for name, member in ((b"ana", people.ana), (b"ana", people.olga), (b"olga", people.olga)):
        message, mail = sent(people, RAW.replace(b"<shop@", b"<%b@" % name), member=member)
        assert mail["From"] == f"Shop <{name.decode()}@demo.postroom.localhost>"
        assert message.author.addr_spec == f"{name.decode()}@demo.postroom.localhost"


@pytest.mark.parametrize(
    "name",
    ["X-SMTPAPI", "X-MC-BccAddress", "X-MSYS-API", "X-Mailgun-Variables", "x-postmark-server-token",
     "X-SES-CONFIGURATION-SET", "X-PM-Message-Stream"],
)  # fmt: skip
def test_what_steers_a_provider_does_not_leave(people: Cast, name: str) -> None:
    line = f"From: x@demo.postroom.localhost\r\n{name}: a,\r\n b\r\nX-Mailer: Shop".encode()
    octets, mail = from_of(people, line)
    assert (mail[name], mail["X-Mailer"]) == (None, "Shop")
    assert " b\r\n" not in octets
