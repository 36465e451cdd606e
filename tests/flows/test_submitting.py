"""A program hands over a mail that is ready."""

from __future__ import annotations

import email
import email.policy
from typing import Any

import pytest

from postroom.flows.posting import PostRefused, submit
from postroom.outgoing.models import Email, Rendition
from postroom.wire.address import AddressError
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
