"""What comes in is taken once, and refused while its sender waits."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.conversations.models import Alias, Message, Record
from postroom.flows import filing, receiving
from postroom.flows.receiving import Arrival, Caller, FrontDoor, check_recipient, receive
from postroom.incoming import log
from postroom.incoming.lookup import Addresses
from postroom.incoming.models import ReceivedEmail, ReceivedState, SpooledMail
from postroom.outgoing.models import Email
from postroom.smtp.door import Session, Transaction
from postroom.workspaces import tokens
from tests.flows.arrivals import BEN, DOMAIN, alias, brought, letter, reply_address, said, states
from tests.people import Cast, cast

# Taking.


def test_a_mail_to_an_alias_is_stored_before_it_is_called_ours(sales: Alias) -> None:
    octets = letter()
    assert receive(brought(octets)).code == 250
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reply_code, row.from_header) == (ReceivedState.STORED, 250, BEN)
    assert row.spooled is not None
    assert bytes(row.spooled.octets or b"") == octets


# Once.


def test_the_same_mail_is_posted_once_however_often_it_comes(sales: Alias) -> None:
    answers = [receive(brought(letter())).code for _ in range(3)]
    assert answers == [250, 250, 250]
    filing.post_batch()
    assert receive(brought(letter())).code == 250
    assert filing.post_batch() == 0
    assert Message.objects.filter(message_id="<first@example.org>").count() == 1
    assert states() == [ReceivedState.POSTED, *[ReceivedState.DUPLICATE] * 3]


def test_a_copy_to_two_aliases_in_two_transactions_takes_both_routes(people: Cast, sales: Alias) -> None:
    alias(people, "support", "help.ticket")
    receive(brought(letter()))
    receive(brought(letter(), f"support@{DOMAIN}"))
    filing.post_batch()
    assert Record.objects.filter(external_id__startswith="mail-").count() == 2


def test_two_aliases_in_one_transaction_share_the_stored_octets(people: Cast, sales: Alias) -> None:
    alias(people, "support", "help.ticket")
    receive(brought(letter(), f"sales@{DOMAIN}", f"support@{DOMAIN}"))
    assert ReceivedEmail.objects.filter(state="stored").count() == 2
    assert SpooledMail.objects.count() == 1


def test_guessing_a_message_id_does_not_keep_the_real_mail_out(sales: Alias) -> None:
    receive(brought(letter("forged")))
    receive(brought(letter("real")))
    filing.post_batch()
    forged, real = Message.objects.filter(record__model="crm.lead").order_by("pk")
    assert (forged.text.strip(), real.text.strip()) == ("forged", "real")
    assert real.message_id.endswith(f"@{DOMAIN}>")


def test_two_mails_without_message_id_that_differ_in_their_subject_both_arrive(sales: Alias) -> None:
    for subject in ("Printer 1 is empty", "Printer 2 is empty"):
        assert receive(brought(letter(Message_ID="", Subject=subject))).code == 250
    filing.post_batch()
    assert set(Message.objects.filter(record__model="crm.lead").values_list("subject", flat=True)) == {
        "Printer 1 is empty",
        "Printer 2 is empty",
    }


def test_a_mail_without_message_id_is_known_again_by_everything_that_relays_do_not_change(
    sales: Alias,
) -> None:
    octets = letter(Message_ID="")
    receive(brought(octets))
    receive(brought(b"Received: from elsewhere\r\n by here\r\n" + octets))
    receive(brought(octets.replace(b"To: sales", b"To: all, sales")))
    assert states() == ["stored", "duplicate", "stored"]


def test_two_texts_without_any_header_both_arrive(sales: Alias) -> None:
    for octets in (b"only text one\r\n", b"only text two\r\n"):
        assert receive(brought(octets)).code == 250
    filing.post_batch()
    texts = Message.objects.filter(record__model="crm.lead").order_by("pk").values_list("text", flat=True)
    assert [text.strip() for text in texts] == ["only text one", "only text two"]


def test_a_mail_that_says_nothing_of_itself_is_a_retry_within_ten_minutes_from_the_same_peer_alone(
    sales: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = letter(Message_ID="", Date="")
    receive(brought(octets))
    receive(brought(octets))
    receive(dataclasses.replace(brought(octets), peer="198.51.100.7"))
    assert states() == ["stored", "duplicate", "stored"]
    later = timezone.now() + receiving.RETRY_WINDOW
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert receive(brought(octets)).code == 250
    assert states()[-1] == "duplicate"
    ReceivedEmail.objects.update(received_at=Now() - receiving.RETRY_WINDOW)
    receive(brought(octets))
    assert states()[-1] == "stored"


# Refusing.


def test_an_unknown_address_is_refused_in_the_session_and_logged(people: Cast) -> None:
    reply = receive(brought(letter(), f"nobody@{DOMAIN}"))
    assert str(reply).startswith("550 5.1.1")
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reason, row.workspace) == ("refused", "unknown_recipient", people.workspace)
    assert row.reply_text == str(reply)
    assert SpooledMail.objects.count() == 0


def test_a_foreign_domain_is_refused_and_logged_for_operators_alone(people: Cast) -> None:
    reply, found = check_recipient(Caller(source="smtp", peer="192.0.2.1"), "carla@example.com")
    assert (reply.code, found) == (550, None)
    row = ReceivedEmail.objects.get()
    assert (row.workspace, row.reason, row.forward_path) == (None, "relaying", "carla@example.com")


def test_a_flood_of_refusals_cannot_fill_the_log(people: Cast) -> None:
    for number in range(60):
        check_recipient(Caller(source="smtp", peer="192.0.2.1"), f"x{number}@example.com")
    assert ReceivedEmail.objects.count() == log.FOREIGN_LINES_PER_NETWORK


def test_a_network_that_misses_three_times_is_refused_at_once(people: Cast, sales: Alias) -> None:
    for number in range(3):
        receive(brought(letter(), f"guess{number}@{DOMAIN}"))
    near = Caller(source="smtp", peer="192.0.2.200")
    assert check_recipient(near, f"guess9@{DOMAIN}")[0].code == 550
    assert check_recipient(near, f"sales@{DOMAIN}")[0].code == 250
    assert check_recipient(Caller(source="smtp", peer="198.51.100.1"), f"guess9@{DOMAIN}")[0].code == 250


def test_known_contacts_may_write_where_only_they_may(people: Cast) -> None:
    alias(people, "orders", "order", policy="partners", bounced_text="Ask us by phone.")
    assert receive(brought(letter(), f"orders@{DOMAIN}")).code == 250
    refused = receive(brought(letter(sender="dora@example.net"), f"orders@{DOMAIN}"))
    assert str(refused) == "550 5.7.1 Ask us by phone."


def test_only_members_may_write_where_only_they_may(people: Cast) -> None:
    alias(people, "team", "team", policy="members")
    assert receive(brought(letter(), f"team@{DOMAIN}")).code == 550
    assert receive(brought(letter(sender="ana@demo.example"), f"team@{DOMAIN}")).code == 250


def test_a_sender_who_opens_more_than_twenty_in_two_hours_has_to_wait(sales: Alias) -> None:
    answers = [receive(brought(letter(f"Number {number}"))).code for number in range(21)]
    assert answers == [250] * 20 + [451]
    assert ReceivedEmail.objects.filter(reason="too_many_openings").count() == 1


def test_trouble_with_the_database_is_temporary_and_stores_nothing(
    sales: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(ReceivedEmail, "save", fail)
    reply = receive(brought(letter()))
    assert (reply.code, str(reply.enhanced)) == (451, "4.3.0")
    monkeypatch.undo()
    assert ReceivedEmail.objects.count() == 0
    assert SpooledMail.objects.count() == 0


@pytest.mark.django_db
def test_a_database_that_is_away_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("connection failed:\n\tIs the server running?")

    monkeypatch.setattr("postroom.flows.receiving.place", fail)
    caller = Caller(source="smtp", peer="192.0.2.7")
    assert check_recipient(caller, f"sales@{DOMAIN}")[0].code == 451
    assert receive(brought(letter())).code == 451
    told = "the database does not answer (connection failed: Is the server running?)"
    assert [record.getMessage().endswith(told) for record in caplog.records] == [True, True]
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("forward_path", [f"postmaster@{DOMAIN}", "Postmaster"])
def test_postmaster_reaches_the_conversation_of_the_workspace(people: Cast, forward_path: str) -> None:
    cast("neighbour")
    assert check_recipient(brought(letter()).caller, forward_path)[0].code == 250
    assert receive(brought(letter(), forward_path)).code == 250
    filing.post_batch()
    message = Message.objects.get(message_id="<first@example.org>")
    assert message.record is not None
    assert message.record.model == "postroom.workspace"


# Whatever comes.


@given(
    octets=st.binary(max_size=600),
    start=st.sampled_from([b"", b"From: ben@example.org\r\nSubject: ", b"To: "]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_octets_have_a_reply(sales: Alias, octets: bytes, start: bytes) -> None:
    log.forget_counts()
    assert receive(brought(start + octets)).code in (250, 451, 550)
    filing.post_batch()
    assert not ReceivedEmail.objects.filter(state__in=["stored", "set_aside"]).exists()


@given(
    path=st.text(max_size=60) | st.sampled_from([f"sales@{DOMAIN}", f"x@{DOMAIN}"]),
    text=st.text(max_size=60),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_envelope_has_a_reply(sales: Alias, path: str, text: str) -> None:
    log.forget_counts()
    arrival = Arrival(
        source="smtp", peer=text, helo=text, reverse_path=text, forward_paths=(path,), octets=letter(text)
    )
    assert receive(arrival).code in (250, 451, 501, 550)
    assert check_recipient(arrival.caller, path)[0].code in (250, 501, 550)


# The door.


@pytest.mark.django_db(transaction=True)
def test_the_front_door_takes_a_mail_in_threads_of_its_own() -> None:
    people = cast()
    alias(people, "sales", "crm.lead")
    door = FrontDoor(threads=2)

    async def visit() -> list[int]:
        session = Session("192.0.2.1", "one", "mail.example.org", reverse_path="ben@example.org")
        replies = [
            await door.sender(session, "ben@example.org", None),
            await door.recipient(session, f"sales@{DOMAIN}"),
            await door.recipient(session, f"unknown@{DOMAIN}"),
            await door.recipient(session, "carla@example.com"),
            await door.content(session, Transaction("ben@example.org", [f"sales@{DOMAIN}"], letter())),
        ]
        await receiving.post_stored("inbound:")
        return [reply.code for reply in replies]

    assert asyncio.run(visit()) == [250, 250, 452, 550, 250]
    refused = ReceivedEmail.objects.get(forward_path="carla@example.com")
    assert refused.reverse_path == "ben@example.org", "the line of a refused recipient names the sender"
    door.close()
    assert Record.objects.filter(model="crm.lead").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_new_mail_transaction_forgets_the_recipients_of_the_last() -> None:
    cast()
    door = FrontDoor(threads=1)

    async def visit() -> list[int]:
        session = Session(peer="192.0.2.1", id="one")
        codes = []
        for _ in range(2):
            await door.sender(session, "ben@example.org", None)
            codes.append((await door.recipient(session, f"unknown@{DOMAIN}")).code)
        return codes

    assert asyncio.run(visit()) == [250, 250]
    door.close()


def test_addresses_are_looked_up_within_their_own_workspace(people: Cast, sales: Alias) -> None:
    neighbour = cast("neighbour")
    facts = Addresses().domain(neighbour.domain.domain)
    assert facts is not None
    assert Addresses().alias(facts, "sales") is None
    own = tokens.signer(people.workspace.pk).reply(people.record.pk)
    assert Addresses().token(facts, own) is None


# Our own mail comes back.


@pytest.mark.parametrize("is_marked", [True, False])
def test_our_own_mail_that_a_forwarder_brings_back_is_refused(people: Cast, is_marked: bool) -> None:
    message = said(people)
    own = {"References": message.message_id}
    if is_marked:
        email = Email.objects.filter(message=message)[0]
        own["X-Postroom-Copy"] = tokens.signer(people.workspace.pk).copy_mark(email.pk)
    else:
        own["Message-ID"] = message.message_id
    answer = receive(brought(letter(to=reply_address(people), **own), reply_address(people)))
    assert str(answer).startswith("554 5.4.6")
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reason) == (ReceivedState.REFUSED, "loop")


def test_an_answer_to_our_mail_is_not_taken_for_our_mail(people: Cast) -> None:
    neighbours_mark = tokens.signer(cast("neighbour").workspace.pk).copy_mark(1)
    address = reply_address(people)
    answer = letter(to=address, In_Reply_To=said(people).message_id, X_Postroom_Copy=neighbours_mark)
    assert receive(brought(answer, address)).code == 250
