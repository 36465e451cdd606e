"""What comes in is taken once, refused while its sender waits, and posted where it belongs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.conversations.models import (
    Alias,
    Contact,
    Follower,
    Message,
    MessageIdAlias,
    Notification,
    Record,
)
from postroom.diagnostics.models import Event
from postroom.diagnostics.trail import trail
from postroom.flows import filing, receiving
from postroom.flows.posting import Draft, post
from postroom.flows.receiving import Arrival, Caller, FrontDoor, check_recipient, receive
from postroom.incoming import log
from postroom.incoming.lookup import Addresses
from postroom.incoming.models import ReceivedEmail, ReceivedState, SpooledMail
from postroom.outgoing.models import Email
from postroom.smtp.door import Session, Transaction
from postroom.workspaces import tokens
from tests.people import Cast, cast

DOMAIN = "demo.postroom.localhost"
BEN = "Ben Ortiz <ben@example.org>"


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    log.forget_counts()
    receiving.forget_misses()


@pytest.fixture
def sales(people: Cast) -> Alias:
    return alias(people, "sales", "crm.lead")


def alias(people: Cast, local_part: str, model: str, **fields: Any) -> Alias:
    return Alias.objects.create(
        workspace=people.workspace, mail_domain=people.domain, local_part=local_part, model=model, **fields
    )


def letter(
    body: str = "Good morning", *, sender: str = BEN, to: str = f"sales@{DOMAIN}", **headers: str
) -> bytes:
    fields = {
        "From": sender,
        "To": to,
        "Subject": "Desk lamps",
        "Date": "Mon, 02 Mar 2026 12:00:00 +0000",
        "Message-ID": "<first@example.org>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    return "\r\n".join([*lines, "", body, ""]).encode()


def brought(octets: bytes, *forward_paths: str, reverse_path: str = "ben@example.org") -> Arrival:
    return Arrival(
        source="smtp",
        peer="192.0.2.1",
        helo="mail.example.org",
        reverse_path=reverse_path,
        forward_paths=forward_paths or (f"sales@{DOMAIN}",),
        octets=octets,
    )


def reply_address(people: Cast) -> str:
    return f"catchall+{tokens.signer(people.workspace.pk).reply(people.record.pk)}@{DOMAIN}"


def said(people: Cast, **fields: Any) -> Message:
    return post(
        Draft(
            workspace=people.workspace,
            record=people.record,
            author=people.ana_contact,
            member=people.ana,
            text="The lamps are here.",
            **fields,
        )
    )


def states() -> list[str]:
    return list(ReceivedEmail.objects.order_by("pk").values_list("state", flat=True))


# Taking.


def test_a_mail_to_an_alias_is_stored_before_it_is_called_ours(sales: Alias) -> None:
    octets = letter()
    assert receive(brought(octets)).code == 250
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reply_code, row.from_header) == (ReceivedState.STORED, 250, BEN)
    assert row.spooled is not None
    assert bytes(row.spooled.octets or b"") == octets


def test_a_mail_to_an_alias_opens_a_record_that_its_sender_follows(people: Cast, sales: Alias) -> None:
    receive(brought(letter("Do you have lamps?")))
    assert filing.post_batch() == 1
    message = Message.objects.get(message_id="<first@example.org>")
    assert message.record is not None
    assert (message.record.model, message.record.title) == ("crm.lead", "Desk lamps")
    assert message.author == people.ben
    assert "Do you have lamps?" in message.text
    assert Follower.objects.filter(record=message.record, contact=people.ben).exists()
    assert states() == [ReceivedState.POSTED]


def test_the_responsible_of_an_alias_is_told_of_what_it_opens(people: Cast, sales: Alias) -> None:
    Alias.objects.filter(pk=sales.pk).update(defaults={"responsible": "ana@demo.example"})
    receive(brought(letter()))
    filing.post_batch()
    record = Record.objects.get(model="crm.lead")
    assert record.responsible == people.ana
    assert Email.objects.filter(message__record=record, address__addr_spec="ana@demo.example").exists()


def test_a_stranger_becomes_a_contact(people: Cast, sales: Alias) -> None:
    receive(brought(letter(sender="Dora <dora@example.net>")))
    filing.post_batch()
    assert Contact.objects.get(address__addr_spec="dora@example.net").name == "Dora"


def test_a_reply_to_the_signed_address_lands_on_the_record(people: Cast) -> None:
    address = reply_address(people)
    assert receive(brought(letter("Thank you", to=address), address)).code == 250
    filing.post_batch()
    message = Message.objects.get(message_id="<first@example.org>")
    assert (message.record, message.author) == (people.record, people.ben)


def test_a_reply_is_known_by_its_references_though_its_address_is_not(people: Cast) -> None:
    asked = said(people)
    answer = letter("Yes", to=f"old@{DOMAIN}", In_Reply_To=asked.message_id)
    assert receive(brought(answer, f"old@{DOMAIN}")).code == 250
    filing.post_batch()
    assert Message.objects.get(message_id="<first@example.org>").parent == asked


def test_a_reply_is_known_by_a_message_id_that_a_relay_gave_our_mail(people: Cast) -> None:
    MessageIdAlias.objects.create(
        workspace=people.workspace, message=said(people), alias="<relayed@relay.example>"
    )
    answer = letter("Yes", References="<other@x.example> <relayed@relay.example>")
    assert receive(brought(answer, f"old@{DOMAIN}")).code == 250
    assert ReceivedEmail.objects.get().record == people.record


def test_references_of_another_workspace_lead_nowhere(people: Cast) -> None:
    neighbour = cast("neighbour")
    asked = said(neighbour)
    answer = letter("Yes", to=f"old@{DOMAIN}", In_Reply_To=asked.message_id)
    assert receive(brought(answer, f"old@{DOMAIN}")).code == 550


def test_an_answer_to_a_note_stays_a_note_and_reaches_who_wrote_it(people: Cast) -> None:
    note = said(people, subtype_key="note", named=(people.olga_contact,))
    answer = letter("Agreed", sender="olga@demo.example", to=f"old@{DOMAIN}", In_Reply_To=note.message_id)
    receive(brought(answer, f"old@{DOMAIN}"))
    filing.post_batch()
    message = Message.objects.get(message_id="<first@example.org>")
    assert message.is_internal
    told = list(Email.objects.filter(message=message).values_list("address__addr_spec", flat=True))
    assert told == ["ana@demo.example"]


def test_whoever_has_the_mail_already_does_not_get_it_again(people: Cast) -> None:
    address = reply_address(people)
    receive(brought(letter("Hello both", to=f"{address}, ana@demo.example"), address))
    filing.post_batch()
    message = Message.objects.get(message_id="<first@example.org>")
    assert not Email.objects.filter(message=message, address__addr_spec="ana@demo.example").exists()
    assert Event.objects.filter(message=message, detail__reason="already_told").exists()


def test_html_is_made_harmless_and_attachments_are_kept(people: Cast, sales: Alias) -> None:
    octets = (
        b'From: ben@example.org\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b'--b\r\nContent-Type: text/html\r\n\r\n<p onclick="x()">Hello</p><script>x()</script>\r\n'
        b'--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename="a.csv"\r\n\r\n'
        b"1,2\r\n--b--\r\n"
    )
    receive(brought(octets))
    filing.post_batch()
    message = Message.objects.get(record__model="crm.lead")
    assert "Hello" in message.body
    assert "script" not in message.body
    assert "onclick" not in message.body
    assert message.attachments.get().name == "a.csv"


def heard_from(people: Cast, sender: str, path: str, **headers: str) -> Message:
    assert receive(brought(letter("Tell me more", sender=sender, to=path, **headers), path)).code == 250
    filing.post_batch()
    return Message.objects.get(message_id="<first@example.org>")


def follows(people: Cast, addr_spec: str) -> bool:
    return Follower.objects.filter(record=people.record, contact__address__addr_spec=addr_spec).exists()


def test_a_stranger_who_names_a_known_message_id_is_posted_but_does_not_follow(people: Cast) -> None:
    asked = said(people)
    message = heard_from(people, "eve@example.net", f"old@{DOMAIN}", References=asked.message_id)
    assert message.record == people.record
    assert not follows(people, "eve@example.net")
    event = Event.objects.get(kind="follower.not_added")
    assert (event.record, event.detail["why"]) == (people.record, "by_references")
    [step] = [step for step in trail(message, people.ana_contact).steps if "not made a follower" in step.what]
    assert step.detail == "eve@example.net"
    later = said(people)
    assert not Email.objects.filter(message=later, address__addr_spec="eve@example.net").exists()


def test_a_stranger_who_writes_to_an_alias_of_the_model_with_a_known_message_id_does_not_follow(
    people: Cast,
) -> None:
    alias(people, "orders", "sale.order")
    heard_from(people, "eve@example.net", f"orders@{DOMAIN}", References=said(people).message_id)
    assert not follows(people, "eve@example.net")


@pytest.mark.parametrize("is_alias", [True, False])
def test_a_stranger_who_has_the_address_of_the_record_follows(people: Cast, is_alias: bool) -> None:
    alias(people, "so042", "sale.order", forced_record=people.record)
    path = f"so042@{DOMAIN}" if is_alias else reply_address(people)
    heard_from(people, "dora@example.net", path, References=said(people).message_id)
    assert follows(people, "dora@example.net")
    assert not Event.objects.filter(kind="follower.not_added").exists()


def test_whoever_a_message_of_the_record_was_sent_to_follows_by_an_answer_with_references(
    people: Cast,
) -> None:
    asked = said(people, named=(people.carla,))
    heard_from(people, "carla@example.com", f"old@{DOMAIN}", References=asked.message_id)
    assert follows(people, "carla@example.com")


def test_a_member_follows_by_an_answer_with_references(people: Cast) -> None:
    asked = said(people)
    heard_from(people, "olga@demo.example", f"old@{DOMAIN}", References=asked.message_id)
    assert follows(people, "olga@demo.example")


def test_a_robot_is_not_said_to_be_kept_from_following(people: Cast) -> None:
    asked = said(people)
    robot = {"References": asked.message_id, "Auto_Submitted": "auto-replied"}
    heard_from(people, "eve@example.net", f"old@{DOMAIN}", **robot)
    assert not Event.objects.filter(kind="follower.not_added").exists()


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
    assert Message.objects.filter(message_id="<first@example.org>").count() == 2


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


def test_postmaster_reaches_the_conversation_of_the_workspace(people: Cast) -> None:
    assert receive(brought(letter(), f"postmaster@{DOMAIN}")).code == 250
    filing.post_batch()
    message = Message.objects.get(message_id="<first@example.org>")
    assert message.record is not None
    assert message.record.model == "postroom.workspace"


# Robots.


def test_automatic_mail_opens_nothing(sales: Alias) -> None:
    assert receive(brought(letter(Auto_Submitted="auto-replied"))).code == 550


def test_an_automatic_answer_becomes_a_note_and_tells_nobody(people: Cast) -> None:
    asked = said(people)
    before = Email.objects.count()
    away = letter(
        "I am away", to=f"old@{DOMAIN}", Auto_Submitted="auto-replied", In_Reply_To=asked.message_id
    )
    assert receive(brought(away, f"old@{DOMAIN}", reverse_path="")).code == 250
    filing.post_batch()
    message = Message.objects.get(message_id="<first@example.org>")
    assert message.is_internal
    assert Email.objects.count() == before
    assert Notification.objects.filter(message=message).count() == 0


def test_an_alias_that_takes_automatic_mail_opens_a_record_for_it(people: Cast) -> None:
    alias(people, "alerts", "alert", accepts_automatic=True)
    assert receive(brought(letter(Auto_Submitted="auto-generated"), f"alerts@{DOMAIN}")).code == 250
    filing.post_batch()
    assert Record.objects.filter(model="alert").count() == 1


def test_our_own_alias_never_becomes_an_author(people: Cast, sales: Alias) -> None:
    receive(brought(letter(sender=f"sales@{DOMAIN}")))
    filing.post_batch()
    assert Message.objects.get(message_id="<first@example.org>").author is None
    assert not Contact.objects.filter(address__addr_spec=f"sales@{DOMAIN}").exists()


def test_an_author_at_our_own_domain_is_marked_as_unverified(people: Cast, sales: Alias) -> None:
    receive(brought(letter(sender=f"someone@{DOMAIN}")))
    filing.post_batch()
    assert Event.objects.get(kind="mail.unverified").detail["claimed"] == f"someone@{DOMAIN}"


# Posting that fails.


def test_a_mail_that_cannot_be_posted_is_set_aside_after_three_tries_and_told(
    people: Cast, sales: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(draft: Draft) -> Message:
        raise ValueError("no")

    monkeypatch.setattr(filing, "post", fail)
    receive(brought(letter()))
    for _ in range(3):
        ReceivedEmail.objects.update(leased_until=None)
        assert filing.post_batch() == 1
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reason, row.attempt_count) == ("set_aside", "ValueError", 3)
    assert Record.objects.filter(model="crm.lead").count() == 0
    assert Notification.objects.get(kind="notice").member == people.olga


def test_a_mail_that_could_not_be_posted_waits_before_the_next_try(
    people: Cast, sales: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(brought(letter()))
    assert filing.due() == ["inbound:"]
    with monkeypatch.context() as patch:
        patch.setattr(filing, "parse", lambda octets: 1 / 0)
        filing.post_batch()
    assert filing.due() == []
    assert ReceivedEmail.objects.get().leased_until is not None


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
        session = Session(peer="192.0.2.1", id="one", helo="mail.example.org")
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
