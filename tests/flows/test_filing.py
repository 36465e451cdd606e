"""What was taken is posted where it belongs, by whom it says, and to whom it concerns."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.utils import timezone

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
from postroom.flows import filing
from postroom.flows.posting import Draft
from postroom.flows.receiving import receive
from postroom.incoming.lookup import WorkspaceFiles
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.outgoing.models import Email
from tests.flows.arrivals import DOMAIN, alias, brought, letter, reply_address, said, states
from tests.people import Cast, cast


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


def test_a_message_id_used_again_leads_no_answer_away(people: Cast, sales: Alias) -> None:
    opened = letter("Do you have lamps?")
    receive(brought(opened))
    filing.post_batch()
    first = Message.objects.get(message_id="<first@example.org>")
    receive(brought(letter("Mine now", sender="eve@example.net", Subject="Other")))
    filing.post_batch()
    again = Message.objects.get(text__contains="Mine now")
    assert again.message_id != first.message_id
    Message.objects.filter(pk=again.pk).update(message_id=first.message_id)  # as one stored long ago
    thread = WorkspaceFiles(people.workspace.pk).thread_of(["<first@example.org>"])
    assert thread is not None
    assert thread.record_id == first.record_id
    ours = said(people)
    Message.objects.filter(pk=ours.pk).update(message_id=first.message_id)
    thread = WorkspaceFiles(people.workspace.pk).thread_of(["<first@example.org>"])
    assert thread is not None
    assert thread.message_id == ours.pk


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


def test_a_member_follows_by_an_answer_to_the_signed_address(people: Cast) -> None:
    message = heard_from(people, "olga@demo.example", reply_address(people))
    assert message.author == people.olga_contact
    assert follows(people, "olga@demo.example")


@pytest.mark.parametrize("is_answer", [True, False])
def test_whoever_claims_to_be_a_member_is_not_made_the_author(
    people: Cast, sales: Alias, is_answer: bool
) -> None:
    asked = said(people)
    path = f"old@{DOMAIN}" if is_answer else f"sales@{DOMAIN}"
    named = {"References": asked.message_id} if is_answer else {}
    message = heard_from(people, "ana@demo.example", path, **named)
    assert message.author is None
    assert message.author_name == f"{people.ana_contact} (unverified)"
    assert Event.objects.get(kind="mail.unverified").detail["claimed"] == "ana@demo.example"
    assert not Email.objects.filter(message=message, address__addr_spec="ana@demo.example").exists()


def test_a_robot_is_not_said_to_be_kept_from_following(people: Cast) -> None:
    asked = said(people)
    robot = {"References": asked.message_id, "Auto_Submitted": "auto-replied"}
    heard_from(people, "eve@example.net", f"old@{DOMAIN}", **robot)
    assert not Event.objects.filter(kind="follower.not_added").exists()


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


def test_an_address_of_a_neighbour_is_an_author_like_any_other(people: Cast, sales: Alias) -> None:
    neighbour = cast("neighbour")
    sender = f"sales@{neighbour.domain.domain}"
    alias(neighbour, "sales", "crm.lead")
    receive(brought(letter(sender=sender)))
    filing.post_batch()
    author = Message.objects.get(message_id="<first@example.org>").author
    assert author is not None
    assert (author.workspace, author.addr_spec) == (people.workspace, sender)


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


@pytest.mark.parametrize("trouble", [OSError("no space"), OperationalError("database is locked")])
def test_trouble_with_disk_or_database_never_sets_a_mail_aside(
    people: Cast, sales: Alias, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def fail(draft: Draft) -> Message:
        raise trouble

    receive(brought(letter()))
    gaps = []
    with monkeypatch.context() as patch:
        patch.setattr(filing, "post", fail)
        for _ in range(8):
            ReceivedEmail.objects.update(leased_until=None)
            assert filing.post_batch() == 1
            row = ReceivedEmail.objects.get()
            assert row.leased_until is not None
            gaps.append(round((row.leased_until - timezone.now()).total_seconds() / 30))
    assert (row.state, row.attempt_count) == ("stored", 0)
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30]
    ReceivedEmail.objects.update(leased_until=None)
    filing.post_batch()
    assert states() == [ReceivedState.POSTED]


def test_a_mail_that_was_set_aside_is_posted_when_it_comes_again(
    people: Cast, sales: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(brought(letter()))
    with monkeypatch.context() as patch:
        patch.setattr(filing, "parse", lambda octets: 1 / 0)
        for _ in range(3):
            ReceivedEmail.objects.update(leased_until=None)
            filing.post_batch()
    assert states() == [ReceivedState.SET_ASIDE]
    assert receive(brought(letter())).code == 250
    row = ReceivedEmail.objects.get()
    assert (row.state, row.attempt_count, row.reason) == ("stored", 0, "")
    filing.post_batch()
    assert states() == [ReceivedState.POSTED]
    assert Message.objects.filter(message_id="<first@example.org>").count() == 1


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
