from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from postroom.conversations.models import Address, Contact, Message, Notification
from postroom.diagnostics import events
from postroom.diagnostics.events import EventKind
from postroom.diagnostics.trail import Trail, trail
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.outgoing.models import Attempt, Email, FailureKind, Lane, MailServer, State
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def message(people: Cast) -> Message:
    return Message.objects.create(
        workspace=people.workspace,
        record=people.record,
        author=people.ana_contact,
        author_name="Ana Pop",
        message_id="<one@demo.example>",
        created_at=NOON,
    )


def mailed(message: Message, contact: Contact, **fields: object) -> Email:
    server = MailServer.objects.create(workspace=message.workspace, name="relay")
    lane = Lane.objects.create(workspace=message.workspace, stream="urgent", server=server)
    known = {"why_told": "follower", "created_at": NOON, **fields}
    return Email.objects.create(
        workspace=message.workspace,
        message=message,
        address=Address.of(message.workspace, contact.addr_spec),
        contact=contact,
        lane=lane,
        **known,
    )


def attempted(email: Email, number: int, outcome: str, reply: str) -> Attempt:
    code, enhanced, text = reply.split(" ", 2)
    return Attempt.objects.create(
        workspace_id=email.workspace_id,
        email=email,
        number=number,
        at=NOON + timedelta(minutes=number),
        addr_spec=email.address.addr_spec,
        server_name="relay",
        outcome=outcome,
        code=int(code),
        enhanced=enhanced,
        text=text,
    )


def words_of(told: Trail) -> str:
    return "\n".join(f"{step.what} {step.detail}" for step in told.steps)


def test_a_sent_mail_says_which_server_took_it(people: Cast, message: Message) -> None:
    email = mailed(message, people.ben, state=State.SENT, sent_at=NOON)
    attempted(email, 1, "accepted", "250 2.0.0 Ok: queued as 4F3A")
    told = trail(message, "ben@example.org")
    assert told.verdict.startswith("Sent: relay took it for ben@example.org")
    assert (told.who_must_act, told.button) == ("Nobody", None)
    assert "Told as a follower" in words_of(told)
    assert "ben@example.org over relay: 250 2.0.0 Ok: queued as 4F3A" in words_of(told)


def test_a_refused_mail_names_who_must_act_and_the_button(people: Cast, message: Message) -> None:
    email = mailed(message, people.ben, state=State.FAILED, failure_kind=FailureKind.REFUSED)
    attempted(email, 1, "refused", "550 5.1.1 User unknown")
    told = trail(message, people.ben)
    assert "There is no such mailbox" in told.verdict
    assert (told.who_must_act, told.button) == ("You", "Retry")


def test_a_bounce_is_explained_by_the_report_and_not_by_the_server_that_took_it(
    people: Cast, message: Message
) -> None:
    email = mailed(
        message,
        people.ben,
        state=State.FAILED,
        failure_kind=FailureKind.BOUNCED,
        failure_text="552 5.2.2 Mailbox full",
    )
    attempted(email, 1, "accepted", "250 2.0.0 Ok")
    events.note(
        EventKind.BOUNCED, workspace=people.workspace, message=message, email_id=email.pk, text="Mailbox full"
    )
    told = trail(message, people.ben)
    assert "mailbox is full" in told.verdict
    assert "A bounce came back Mailbox full" in words_of(told)


def test_a_waiting_mail_says_until_when_and_why(people: Cast, message: Message) -> None:
    email = mailed(message, people.ben, due_at=datetime(2999, 1, 1, tzinfo=UTC))
    attempted(email, 1, "deferred", "450 4.7.1 Greylisted")
    told = trail(message, people.ben)
    assert "2999-01-01" in told.verdict
    assert "greylisting" in told.verdict
    assert told.button == "Send Now"


def test_a_hold_whose_time_has_come_is_over(people: Cast, message: Message) -> None:
    lane = Lane.objects.filter(pk=mailed(message, people.ben).lane_id)
    lane.update(held_until=datetime(2020, 1, 1, tzinfo=UTC), held_because="server_unreachable")
    steps = [step.what for step in trail(message, "ben@example.org").steps]
    assert "Held no longer: it goes now" in steps
    assert not any(step.startswith("Its lane is held until") for step in steps)


def test_a_held_mail_says_because_of_what(people: Cast, message: Message) -> None:
    email = mailed(message, people.ben)
    Lane.objects.filter(pk=email.lane_id).update(
        held_until=datetime(2999, 1, 1, tzinfo=UTC), held_because="server_unreachable"
    )
    told = trail(message, people.ben)
    assert "the outgoing server could not be reached" in told.verdict
    assert told.who_must_act == "The operator of Postroom"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"held_because": "no_server"}, "no outgoing server is set up"),
        ({"is_paused": True}, "paused"),
        ({}, "waits for its turn"),
    ],
)
def test_a_lane_tells_why_its_mail_waits(
    people: Cast, message: Message, fields: dict[str, object], words: str
) -> None:
    email = mailed(message, people.ben)
    Lane.objects.filter(pk=email.lane_id).update(**fields)
    assert words in trail(message, people.ben).verdict


def test_a_captured_mail_says_that_it_never_left(people: Cast, message: Message) -> None:
    mailed(message, people.ben, state=State.CANCELLED, cancelled_because="captured")
    events.note(EventKind.CAPTURED, workspace=people.workspace, message=message, count=1)
    told = trail(message, people.ben)
    assert "capture mode" in told.verdict
    assert "Captured" in words_of(told)


def test_who_corrected_an_address_is_on_the_trail_of_the_old_and_the_new_one(
    people: Cast, message: Message
) -> None:
    email = mailed(message, people.ben, state=State.SENT, sent_at=NOON)
    attempted(email, 1, "refused", "550 5.1.1 User unknown")
    email.address = Address.of(people.workspace, "benjamin@example.org")
    email.save()
    events.note(
        EventKind.CORRECTED,
        workspace=people.workspace,
        message=message,
        email_id=email.pk,
        member=people.ana,
        before="ben@example.org",
        after="benjamin@example.org",
    )
    for address in ("ben@example.org", "benjamin@example.org"):
        assert "by Ana Pop · ben@example.org → benjamin@example.org" in words_of(trail(message, address))


def test_an_ignored_failure_asks_nobody(people: Cast, message: Message) -> None:
    mailed(message, people.ben, state=State.FAILED, failure_kind=FailureKind.UNCERTAIN, ignored_at=NOON)
    told = trail(message, people.ben)
    assert "ignored" in told.verdict
    assert told.who_must_act == "Nobody"


@pytest.mark.parametrize("reason", ["author", "inactive", "internal", "not_subscribed", "already_told"])
def test_somebody_passed_over_learns_why(people: Cast, message: Message, reason: str) -> None:
    events.note(
        EventKind.NOT_TOLD, workspace=people.workspace, message=message, contact=people.ben, reason=reason
    )
    told = trail(message, people.ben)
    assert told.verdict.startswith("Not ")
    assert f"({reason})" not in told.verdict


def test_the_reason_of_another_person_is_not_shown(people: Cast, message: Message) -> None:
    events.note(
        EventKind.NOT_TOLD, workspace=people.workspace, message=message, contact=people.ben, reason="inactive"
    )
    told = trail(message, people.carla)
    assert told.verdict.startswith("Never told")
    assert "Not told" not in words_of(told)


def test_an_address_nobody_knows_was_never_told(message: Message) -> None:
    assert trail(message, "stranger@example.com").verdict.startswith("Never told")


def test_a_member_told_in_postroom_has_read_it_or_not(people: Cast, message: Message) -> None:
    notification = Notification.objects.create(
        workspace=people.workspace, member=people.olga, message=message, kind=Notification.Kind.MESSAGE
    )
    assert trail(message, people.olga_contact).verdict == "Told in Postroom, and not read yet."
    Notification.objects.filter(pk=notification.pk).update(read_at=NOON)
    assert trail(message, people.olga_contact).verdict == "Told in Postroom, and read."


def test_a_message_that_came_by_email_says_from_whom(people: Cast, message: Message) -> None:
    ReceivedEmail.objects.create(
        workspace=people.workspace,
        source="smtp",
        state=ReceivedState.POSTED,
        message=message,
        from_header="Ben Ortiz <ben@example.org>",
        received_at=NOON,
    )
    assert "Came in by email Ben Ortiz <ben@example.org>" in words_of(trail(message, people.carla))


def test_steps_are_in_the_order_of_time(people: Cast, message: Message) -> None:
    email = mailed(message, people.ben, state=State.SENT, sent_at=NOON)
    attempted(email, 2, "accepted", "250  Ok")
    attempted(email, 1, "deferred", "450  Later")
    moments = [step.at for step in trail(message, people.ben).steps]
    assert moments == sorted(moments)


def test_a_trail_costs_few_queries_however_many_were_passed_over(people: Cast, message: Message) -> None:
    mailed(message, people.ben, state=State.SENT, sent_at=NOON)
    for _ in range(30):
        events.note(
            EventKind.NOT_TOLD, workspace=people.workspace, message=message, contact=people.carla, reason="x"
        )
    with CaptureQueriesContext(
        connection,
    ) as queries:
        told = trail(message, "ben@example.org")
    assert len(queries) <= 8
    assert len(told.steps) == 2


def test_a_contact_of_another_workspace_sees_nothing(message: Message) -> None:
    neighbour = cast("neighbour")
    assert trail(message, neighbour.ben).verdict.startswith("Never told")


def test_what_a_person_cancelled_before_any_attempt_names_the_person_and_blames_no_server(
    people: Cast, message: Message
) -> None:
    email = mailed(message, people.ben, state=State.CANCELLED, cancelled_because="member")
    events.note(
        EventKind.CANCELLED,
        workspace=people.workspace,
        message=message,
        email_id=email.pk,
        member=people.ana,
    )
    told = trail(message, people.ben)
    assert told.verdict == "Ana Pop cancelled it before it was sent."
    assert told.who_must_act == "Nobody"


def test_a_rate_limit_names_its_server_and_the_figure(people: Cast, message: Message) -> None:
    email = mailed(message, people.ben)
    MailServer.objects.filter(pk=email.lane.server_id).update(name="Alpha", limit_per_minute=2)
    until = datetime.now(UTC) + timedelta(minutes=1)
    Lane.objects.filter(pk=email.lane_id).update(held_until=until, held_because="rate_limit")
    assert "because Alpha takes 2 a minute." in trail(message, people.ben).verdict


def test_nobody_claims_that_a_member_was_never_told_where_that_is_no_longer_known(
    people: Cast, message: Message
) -> None:
    """What members have read in Postroom goes after half a year; what was told by email stays."""
    for days, words in ((179, "Never told"), (181, "no longer kept")):
        Message.objects.filter(pk=message.pk).update(created_at=timezone.now() - timedelta(days=days))
        message.refresh_from_db()
        assert words in trail(message, people.olga_contact).verdict
        assert "Never told" in trail(message, people.carla).verdict


def test_what_is_in_hand_says_by_when_it_is_settled_and_what_a_lost_worker_leaves(message: Message) -> None:
    email = mailed(message, Contact.objects.get(address__addr_spec="ben@example.org"), lease="run")
    until = timezone.now() + timedelta(minutes=5)
    Email.objects.filter(pk=email.pk).update(leased_until=until)
    told = trail(message, "ben@example.org").verdict
    assert f"If its worker is lost, it is settled after {timezone.localtime(until):%Y-%m-%d %H:%M}" in told
    Email.objects.filter(pk=email.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    assert "may have arrived" in trail(message, "ben@example.org").verdict


def test_a_try_whose_answer_was_lost_is_told_as_one_that_may_have_arrived(message: Message) -> None:
    due_at = timezone.now() + timedelta(hours=1)
    email = mailed(message, Contact.objects.get(address__addr_spec="ben@example.org"), due_at=due_at)
    Attempt.objects.create(workspace=message.workspace, email=email, number=1, outcome="uncertain")
    assert "It may have arrived." in trail(message, "ben@example.org").verdict
