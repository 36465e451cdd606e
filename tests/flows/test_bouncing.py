"""A delivery report finds its Email, fails it once, and is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.conversations.models import Address, Contact, Message, Notification
from postroom.diagnostics.models import Event
from postroom.diagnostics.trail import trail
from postroom.flows.posting import Draft, post
from postroom.flows.receiving import Arrival, Caller, check_recipient, receive
from postroom.incoming import replies
from postroom.incoming.models import ReceivedEmail
from postroom.outgoing import tallies
from postroom.outgoing.models import Attempt, Email, FailureKind, State, Tally
from postroom.outgoing.tallies import Move
from postroom.wire.dsn import write_report
from postroom.wire.reply import EnhancedStatus, Reply
from postroom.workspaces import tokens
from tests.flows.arrivals import alias
from tests.people import Cast, cast

DOMAIN = "demo.postroom.localhost"
UNKNOWN = Reply(550, EnhancedStatus(5, 1, 1), "User unknown")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def email(people: Cast) -> Email:
    """A message to Ben that the relay took at the first attempt."""
    message = post(
        Draft(workspace=people.workspace, record=people.record, author=people.ana_contact, text="The lamps")
    )
    return sent(message.emails.select_related("address", "message").get(contact=people.ben))


def sent(email: Email) -> Email:
    before = email.state
    email.state, email.sent_at, email.attempt_count = State.SENT, NOON, email.attempt_count + 1
    email.save()
    tallies.move([Move(email.message_id, before, State.SENT)])
    Attempt.objects.create(
        workspace_id=email.workspace_id,
        email=email,
        number=email.attempt_count,
        addr_spec=email.address.addr_spec,
        server_name="relay",
        outcome="accepted",
        code=250,
    )
    return email


def return_path(email: Email, attempt: int = 1) -> str:
    return f"bounce+{tokens.signer(email.workspace_id).return_path(email.pk, attempt)}@{DOMAIN}"


def report(
    email: Email,
    *,
    recipient: str = "ben@example.org",
    status: str = "5.1.1",
    original: bytes = b"",
    date: datetime = NOON,
) -> bytes:
    parsed = EnhancedStatus.parse(status)
    assert parsed is not None
    return write_report(
        reporting_mta="mx.example.org",
        recipient=recipient,
        status=parsed,
        diagnostic=UNKNOWN if status == "5.1.1" else f"450 {status} Mailbox busy",
        original=original or f"Message-ID: {email.message.message_id}\r\n\r\n".encode(),
        to=f"bounce@{DOMAIN}",
        date=date,
        message_id=f"<report-{status}-{date.minute}@example.org>",
        arrival_date=NOON,
    )


def brought(octets: bytes, forward_path: str, reverse_path: str = "") -> Reply:
    return receive(
        Arrival(
            source="smtp",
            peer="192.0.2.9",
            reverse_path=reverse_path,
            forward_paths=(forward_path,),
            octets=octets,
        )
    )


def is_bounced(email: Email) -> bool:
    email.refresh_from_db()
    return email.state == State.FAILED and email.failure_kind == FailureKind.BOUNCED


def test_a_report_to_the_signed_return_path_turns_the_envelope_red(people: Cast, email: Email) -> None:
    assert brought(report(email), return_path(email)).code == 250
    assert is_bounced(email)
    assert email.failure_text == "550 5.1.1 User unknown"
    assert email.bounced_at is not None
    assert email.is_listed
    assert Tally.objects.get(pk=email.message_id).is_red
    assert email.attempts.count() == 1


def test_a_bounce_is_told_to_author_responsible_and_operator(people: Cast, email: Email) -> None:
    brought(report(email), return_path(email))
    told = Notification.objects.filter(message=email.message, kind="failure")
    assert {notification.member for notification in told} == {people.ana, people.olga}


def test_a_bounce_is_on_the_trail_in_plain_words(people: Cast, email: Email) -> None:
    brought(report(email), return_path(email))
    answer = trail(email.message, people.ben)
    assert "There is no such mailbox" in answer.verdict
    assert any(step.what == "A bounce came back" for step in answer.steps)


def test_the_log_names_the_message_that_bounced(email: Email) -> None:
    brought(report(email), return_path(email))
    row = ReceivedEmail.objects.get()
    assert (row.state, row.message, row.record) == ("bounce", email.message, email.message.record)


def test_a_replayed_report_counts_once(people: Cast, email: Email) -> None:
    octets = report(email)
    for _ in range(3):
        assert brought(octets, return_path(email)).code == 250
    assert Address.objects.get(addr_spec="ben@example.org").bounce_score == 1
    assert Event.objects.filter(kind="email.bounced").count() == 1


def test_a_second_report_on_the_same_attempt_changes_nothing(email: Email) -> None:
    brought(report(email), return_path(email))
    brought(report(email, date=NOON.replace(minute=5)), return_path(email))
    assert Address.objects.get(addr_spec="ben@example.org").bounce_score == 1
    assert Tally.objects.get(pk=email.message_id).failed_count == 1


def test_a_report_without_our_return_path_is_known_by_the_mark_in_the_copy(email: Email) -> None:
    mark = tokens.signer(email.workspace_id).copy_mark(email.pk)
    original = f"Message-ID: <rewritten@relay.example>\r\nX-Postroom-Copy: {mark}\r\n\r\n".encode()
    brought(report(email, original=original), f"bounce@{DOMAIN}")
    assert is_bounced(email)


def test_a_report_is_known_by_message_id_and_recipient_together(email: Email) -> None:
    brought(report(email, recipient="carla@example.com"), f"bounce@{DOMAIN}")
    assert not is_bounced(email)
    brought(report(email), f"bounce@{DOMAIN}")
    assert is_bounced(email)


@pytest.mark.parametrize(
    ("local_part", "reverse_path"), [("sales", ""), ("nobody-here", ""), ("bounce", "eve@example.net")]
)
def test_a_report_that_nobody_vouches_for_is_noted_and_fails_nothing(
    people: Cast, email: Email, local_part: str, reverse_path: str
) -> None:
    alias(people, "sales", "crm.lead")
    assert brought(report(email), f"{local_part}@{DOMAIN}", reverse_path) == replies.REPORT_TAKEN
    assert not is_bounced(email)
    assert Event.objects.get(kind="report.unverified").email_id == email.pk
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reason, row.message) == ("bounce", "unverified", email.message)
    assert not Notification.objects.filter(kind="failure").exists()


def test_a_report_known_by_its_copy_does_not_fail_a_later_attempt(email: Email) -> None:
    sent(email)
    mark = tokens.signer(email.workspace_id).copy_mark(email.pk)
    original = f"X-Postroom-Copy: {mark}\r\n\r\n".encode()
    brought(report(email, original=original), f"bounce@{DOMAIN}")
    assert not is_bounced(email)
    assert Event.objects.filter(kind="report.outdated", email_id=email.pk).count() == 1


def test_a_forged_report_changes_nothing_but_the_log(email: Email) -> None:
    forged = report(email, original=b"Message-ID: <guessed@demo.example>\r\n\r\n")
    assert brought(forged, f"bounce@{DOMAIN}") == replies.REPORT_UNMATCHED
    assert not is_bounced(email)
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reason, row.message) == ("bounce", "unmatched", None)
    assert Notification.objects.filter(kind="failure").count() == 0


@pytest.mark.parametrize("local_part", ["bounce+aaaa", "nobody-here"])
def test_a_report_to_an_address_we_never_signed_is_refused_unless_it_fits(
    email: Email, local_part: str
) -> None:
    path = f"{local_part}@{DOMAIN}"
    caller = Caller(source="smtp", peer="192.0.2.9")
    assert check_recipient(caller, path)[0] == replies.PROVISIONAL
    forged = report(email, original=b"Message-ID: <guessed@demo.example>\r\n\r\n")
    assert str(brought(forged, path)).startswith("550 5.1.1")
    row = ReceivedEmail.objects.get()
    assert (row.state, row.reason, row.reply_code) == ("refused", "unmatched", 550)
    wrong_recipient = report(email, recipient="carla@example.com", date=NOON.replace(minute=1))
    assert brought(wrong_recipient, path).code == 550
    assert not is_bounced(email)
    assert brought(report(email, date=NOON.replace(minute=2)), path) == replies.REPORT_TAKEN
    assert is_bounced(email) == local_part.startswith("bounce+")


def test_an_old_fashioned_bounce_to_a_return_path_we_never_signed_is_refused(email: Email) -> None:
    octets = b"From: MAILER-DAEMON@example.org\r\nSubject: failure\r\n\r\nNo luck: 552 5.2.2 mailbox full\r\n"
    assert str(brought(octets, f"bounce+aaaa@{DOMAIN}")).startswith("550 5.1.1")
    assert not is_bounced(email)


def test_servers_that_report_often_are_still_heard_at_a_damaged_return_path(email: Email) -> None:
    path = f"bounce+aaaa@{DOMAIN}"
    for minute in range(5):
        forged = report(email, original=b"Subject: x\r\n\r\n", date=NOON.replace(minute=minute))
        assert brought(forged, path).code == 550
    assert check_recipient(Caller(source="smtp", peer="192.0.2.9"), path)[0].code == 250


def test_a_report_of_another_workspace_reaches_nobody_here(email: Email) -> None:
    neighbour = cast("neighbour")
    token = tokens.signer(neighbour.workspace.pk).return_path(email.pk, 1)
    brought(report(email), f"bounce+{token}@{neighbour.domain.domain}")
    assert not is_bounced(email)


def test_a_delay_is_noted_and_fails_nothing(people: Cast, email: Email) -> None:
    brought(report(email, status="4.4.1"), return_path(email))
    assert not is_bounced(email)
    assert any("delayed" in step.what for step in trail(email.message, people.ben).steps)


def test_a_bounce_of_the_old_address_does_not_fail_the_corrected_one(people: Cast, email: Email) -> None:
    email.address = Address.of(people.workspace, "benjamin@example.org")
    sent(email)
    brought(report(email), return_path(email, attempt=1))
    assert not is_bounced(email)
    assert Event.objects.filter(kind="report.outdated", email_id=email.pk).count() == 1
    brought(report(email, recipient="benjamin@example.org"), return_path(email, attempt=2))
    assert is_bounced(email)


def test_a_corrected_mail_that_waits_is_not_failed_by_the_old_bounce(people: Cast, email: Email) -> None:
    Email.objects.filter(pk=email.pk).update(
        address=Address.of(people.workspace, "benjamin@example.org"), state=State.OUTGOING
    )
    Tally.objects.filter(pk=email.message_id).update(sent_count=0, outgoing_count=1)
    for path in (return_path(email), f"bounce@{DOMAIN}"):
        brought(report(email), path)
        assert not is_bounced(email)


def test_a_bounce_of_an_uncertain_mail_settles_what_became_of_it(email: Email) -> None:
    Email.objects.filter(pk=email.pk).update(state=State.FAILED, failure_kind=FailureKind.UNCERTAIN)
    Tally.objects.filter(pk=email.message_id).update(sent_count=0, failed_count=1)
    brought(report(email), return_path(email))
    assert is_bounced(email)
    assert Tally.objects.get(pk=email.message_id).failed_count == 1


@pytest.mark.parametrize("change", [{"state": "cancelled"}, {"state": "failed", "ignored_at": NOON}])
def test_what_a_person_has_ended_is_not_opened_by_a_bounce(email: Email, change: dict[str, Any]) -> None:
    count = "cancelled_count" if change["state"] == "cancelled" else "ignored_count"
    Email.objects.filter(pk=email.pk).update(**change)
    Tally.objects.filter(pk=email.message_id).update(sent_count=0, **{count: 1})
    brought(report(email), return_path(email))
    assert not is_bounced(email)


def test_a_report_that_overtakes_its_own_attempt_is_asked_to_come_again(email: Email) -> None:
    Email.objects.filter(pk=email.pk).update(lease="held", attempt_count=0, state=State.OUTGOING)
    Tally.objects.filter(pk=email.message_id).update(sent_count=0, outgoing_count=1)
    assert brought(report(email), return_path(email)).code == 451
    assert ReceivedEmail.objects.count() == 0
    Email.objects.filter(pk=email.pk).update(lease="", attempt_count=1)
    assert brought(report(email), return_path(email)).code == 250
    assert is_bounced(email)


def test_an_old_fashioned_bounce_to_the_signed_return_path_fails_with_its_text(email: Email) -> None:
    octets = b"From: MAILER-DAEMON@example.org\r\nSubject: failure\r\n\r\nNo luck: 552 5.2.2 mailbox full\r\n"
    assert brought(octets, return_path(email)).code == 250
    assert is_bounced(email)
    assert "mailbox full" in email.failure_text


def test_a_vacation_note_to_the_return_path_is_no_bounce(email: Email) -> None:
    octets = b"From: ben@example.org\r\nX-Autoreply: yes\r\nSubject: away\r\n\r\nBack on Monday\r\n"
    assert brought(octets, return_path(email)).code == 550
    assert not is_bounced(email)


def to(people: Cast, *contacts: Contact) -> Message:
    return post(Draft(workspace=people.workspace, author=people.ana_contact, text="Hello", named=contacts))


def test_several_recipients_of_one_report_fail_each(people: Cast) -> None:
    message = to(people, people.ben, people.carla)
    both = [sent(each) for each in message.emails.select_related("address", "message")]
    octets = report(both[0]).replace(
        b"Final-Recipient: rfc822; ben@example.org",
        b"Final-Recipient: rfc822; carla@example.com\r\nAction: failed\r\nStatus: 5.2.2\r\n\r\n"
        b"Final-Recipient: rfc822; ben@example.org",
    )
    brought(octets, f"bounce@{DOMAIN}")
    assert all(is_bounced(each) for each in both)
    assert Tally.objects.get(pk=message.pk).failed_count == 2


@given(cut=st.integers(0, 900), junk=st.binary(max_size=80))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_report_has_a_reply(email: Email, cut: int, junk: bytes) -> None:
    octets = report(email)
    assert brought(octets[:cut] + junk + octets[cut + len(junk) :], return_path(email)).code in (250, 550)


def test_a_message_without_a_record_can_bounce_too(people: Cast) -> None:
    message = to(people, people.carla)
    lone = sent(Email.objects.select_related("address", "message").get(message=message))
    brought(report(lone, recipient="carla@example.com"), return_path(lone))
    assert is_bounced(lone)
    assert Message.objects.filter(pk=message.pk, tally__failed_count=1).exists()
