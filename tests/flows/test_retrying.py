"""Retry, Send Now, Cancel Email, corrections and Ignore all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from postroom.conversations.models import Contact
from postroom.conversations.models.records import Stream
from postroom.diagnostics.models import Event
from postroom.flows import leaving_later, retrying
from postroom.flows.posting import submit
from postroom.flows.telling import tell_failures
from postroom.outgoing import claiming, holds
from postroom.outgoing.models import Email, Lane, State, Tally
from postroom.outgoing.relays import shared_server
from postroom.schedule.models import ScheduledAction
from postroom.workspaces.refusals import RequestRefused
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast, cast, join


def failed(people: Cast, *addr_specs: str) -> list[Email]:
    """Emails of Ana's message on the record, all in Delivery Failed."""
    said = {"record": people.record, "author": people.ana_contact}
    emails = queue(people.workspace, list(addr_specs), message=said)
    Email.objects.filter(message=emails[0].message).update(
        state=State.FAILED, failure_kind="refused", failure_text="550 no", first_attempt_at=timezone.now()
    )
    Tally.objects.filter(message=emails[0].message).update(outgoing_count=0, failed_count=len(emails))
    return list(Email.objects.filter(message=emails[0].message).order_by("pk"))


def state_of(email: Email) -> str:
    """As it is in the table now."""
    return str(Email.objects.get(pk=email.pk).state)


def test_retry_sends_failed_and_cancelled_ones_again_and_says_who_did(people: Cast) -> None:
    one, two, three = failed(people, "a@example.org", "b@example.org", "c@example.org")
    Email.objects.filter(pk=two.pk).update(state=State.CANCELLED, cancelled_because="captured")
    Email.objects.filter(pk=three.pk).update(state=State.SENT, sent_at=timezone.now())
    Tally.objects.update(failed_count=1, cancelled_count=1, sent_count=1)
    assert retrying.retry([one.pk, two.pk, three.pk], people.ana) == 2
    one.refresh_from_db()
    assert (one.state, one.failure_kind, one.first_attempt_at, one.is_listed) == ("outgoing", "", None, True)
    assert state_of(three) == "sent"
    assert tally_adds_up(one.message)
    assert set(Event.objects.filter(kind="email.retried").values_list("email_id", "member")) == {
        (one.pk, people.ana.pk),
        (two.pk, people.ana.pk),
    }


def test_more_than_one_group_is_retried_whole(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "GROUP", 3)
    emails = failed(people, *(f"p{n}@example.org" for n in range(8)))
    assert retrying.retry(Email.objects.filter(message=emails[0].message), people.olga) == 8
    assert not Email.objects.exclude(state="outgoing").exists()
    assert tally_adds_up(emails[0].message)


def test_nobody_touches_emails_of_another_workspace(people: Cast) -> None:
    neighbour = cast("neighbour")
    [email] = failed(people, "a@example.org")
    assert retrying.retry([email.pk], neighbour.olga) == 0
    assert not retrying.may_correct(neighbour.olga, email)
    with pytest.raises(RequestRefused):
        retrying.ignore_all(email.message, neighbour.olga)
    with pytest.raises(RequestRefused):
        retrying.send_and_close(email.message, neighbour.olga, again={email.pk: ""})
    assert state_of(email) == "failed"


def test_send_now_brings_waiting_mail_forward_and_opens_a_lane_that_waits_for_its_server(
    people: Cast,
) -> None:
    later = timezone.now() + timedelta(hours=1)
    one, in_hand = queue(
        people.workspace, ["a@example.org", "b@example.org"], stream=Stream.BULK, due_at=later
    )
    Email.objects.filter(pk=in_hand.pk).update(lease="x")
    Lane.objects.update(held_until=later, held_because="server_unreachable")
    assert retrying.send_now([one.pk, in_hand.pk], people.ana) == 1
    one.refresh_from_db()
    assert one.due_at <= timezone.now()
    assert Lane.objects.get().held_until is None


def test_send_now_does_not_hurry_a_server_that_asked_for_less_mail(people: Cast) -> None:
    [one] = queue(people.workspace, ["a@example.org"])
    until = timezone.now() + timedelta(minutes=15)
    holds.hold_server(one.lane.server_id, until, holds.THROTTLED, "451 4.7.0 slow down")
    with pytest.raises(RequestRefused, match="asked for less mail"):
        retrying.send_now([one.pk], people.ana)
    holds.reopen_lanes([one.lane_id])
    lane = Lane.objects.select_related("server").get()
    assert (lane.held_because, lane.server.down_until) == ("throttled", until)


def test_cancel_takes_waiting_mail_out_but_not_what_is_being_sent(people: Cast) -> None:
    one, in_hand = queue(people.workspace, ["a@example.org", "b@example.org"])
    Email.objects.filter(pk=in_hand.pk).update(lease="x")
    assert retrying.cancel([one.pk, in_hand.pk], people.ana) == 1
    assert (state_of(one), state_of(in_hand)) == ("cancelled", "outgoing")
    assert tally_adds_up(one.message)


def test_ignoring_takes_the_red_away_and_settles_what_people_were_told(people: Cast) -> None:
    emails = failed(people, "a@example.org", "b@example.org")
    tell_failures([emails[0].message])
    assert people.ana.notifications.get(kind="failure").count == 2
    assert retrying.ignore_all(emails[0].message, people.ana) == 2
    assert not Tally.objects.get().is_red
    assert tally_adds_up(emails[0].message)
    assert people.ana.notifications.get(kind="failure").read_at is not None


def test_send_and_close_corrects_resends_and_ignores_the_rest(people: Cast) -> None:
    ben, carla, left = failed(people, "ben@example.org", "carla@example.com", "left@example.org")
    count = retrying.send_and_close(
        ben.message,
        people.ana,
        again={ben.pk: " Ben@New.example ", carla.pk: ""},
        ignored=[left.pk],
        update_contacts=[ben.pk],
    )
    assert count == 2
    ben.refresh_from_db()
    assert (ben.state, ben.address.addr_spec) == ("outgoing", "ben@new.example")
    assert Contact.objects.get(pk=people.ben.pk).addr_spec == "ben@new.example"
    assert state_of(carla) == "outgoing"
    left.refresh_from_db()
    assert left.ignored_at is not None
    assert not Tally.objects.get().is_red
    assert tally_adds_up(ben.message)
    corrected = Event.objects.get(kind="email.corrected")
    assert corrected.detail == {"before": "ben@example.org", "after": "ben@new.example"}


def test_a_failure_that_nobody_was_shown_stays_red(people: Cast) -> None:
    ben, unseen = failed(people, "ben@example.org", "left@example.org")
    retrying.send_and_close(ben.message, people.ana, again={ben.pk: ""}, ignored=[ben.pk])
    unseen.refresh_from_db()
    assert unseen.is_failing
    assert Tally.objects.get().is_red


def test_without_the_tick_the_contact_keeps_its_address(people: Cast) -> None:
    [ben] = failed(people, "ben@example.org")
    retrying.send_and_close(ben.message, people.ana, again={ben.pk: "other@example.org"})
    assert Contact.objects.get(pk=people.ben.pk).addr_spec == "ben@example.org"


@pytest.mark.parametrize("wanted", ["carla@example.com", "nobody", "a@b@c.example"])
def test_a_correction_that_cannot_be_used_changes_nothing(people: Cast, wanted: str) -> None:
    ben, carla = failed(people, "ben@example.org", "carla@example.com")
    with pytest.raises(RequestRefused) as refusal:
        retrying.send_and_close(ben.message, people.ana, again={ben.pk: wanted, carla.pk: ""})
    assert len(str(refusal.value)) > 20
    assert (state_of(ben), state_of(carla)) == ("failed", "failed")
    assert not Event.objects.filter(kind__startswith="email.").exists()


@pytest.mark.parametrize("local_part", ["admin", "catchall", "bounce", "notifications"])
def test_an_address_is_not_corrected_to_one_that_leads_back_here(people: Cast, local_part: str) -> None:
    [ben] = failed(people, "ben@example.org")
    wanted = f"{local_part}@{people.domain.domain}"
    with pytest.raises(RequestRefused, match="leads back here"):
        retrying.send_and_close(ben.message, people.ana, again={ben.pk: wanted})
    assert state_of(ben) == "failed"


def test_only_admins_the_author_and_the_responsible_may_correct(people: Cast) -> None:
    [ben] = failed(people, "ben@example.org")
    dan = join(people.workspace, "dan@demo.example", "Dan Rus")
    assert retrying.may_correct(people.ana, ben)
    assert retrying.may_correct(people.olga, ben)
    assert not retrying.may_correct(dan, ben)
    with pytest.raises(RequestRefused, match="administrator"):
        retrying.send_and_close(ben.message, dan, again={ben.pk: "other@example.org"})
    assert retrying.send_and_close(ben.message, dan, again={ben.pk: ""}) == 1


def test_a_mail_for_its_recipient_alone_goes_to_no_other_address(people: Cast) -> None:
    raw = b"From: a@demo.postroom.localhost\r\nSubject: Your link\r\n\r\nhttps://secret.example\r\n"
    message = submit(
        people.workspace,
        raw,
        reverse_path="",
        forward_paths=["ana@demo.example"],
        member=people.ana,
        shown="Your link",
    )
    email = Email.objects.get(message=message)
    Email.objects.update(state="failed")
    with pytest.raises(RequestRefused, match="alone"):
        retrying.send_and_close(message, people.olga, again={email.pk: "olga@elsewhere.example"})
    email.refresh_from_db()
    assert email.address.addr_spec == "ana@demo.example"


def test_a_bulk_retry_names_the_action_that_is_off_and_keeps_it(people: Cast) -> None:
    bulk = queue(people.workspace, ["b@example.org", "c@example.org"], stream=Stream.BULK, is_gated=True)
    [urgent] = failed(people, "a@example.org")
    Email.objects.exclude(pk=urgent.pk).update(state=State.FAILED, failure_text="550 no")
    Tally.objects.exclude(message=urgent.message).update(outgoing_count=0, failed_count=2)
    chosen = [urgent.pk, *(email.pk for email in bulk)]
    action = ScheduledAction.objects.filter(workspace=people.workspace, key="mail_queue")
    action.update(is_active=False)
    done = retrying.retry_what_can(chosen, people.ana)
    assert (done.count, done.left, done.kept_by) == (3, {}, {"Mail: Email Queue Manager": 2})
    Email.objects.update(state=State.FAILED)
    Tally.objects.update(outgoing_count=0, failed_count=F("total_count"))
    action.update(is_active=True)
    assert retrying.retry_what_can(chosen, people.ana).kept_by == {}


def test_send_now_goes_by_the_clock_of_the_database(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    real = timezone.now
    [email] = queue(people.workspace, ["u@example.org"], due_at=real() + timedelta(hours=1))
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(minutes=5))  # this machine is ahead
    assert retrying.send_now([email.pk], people.ana) == 1
    [claimed] = claiming.claim(shared_server().pk, "ours").emails
    assert claimed.email_id == email.pk


def test_emails_that_are_moved_to_now_go_by_the_clock_of_the_database(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timezone.now
    [email] = queue(people.workspace, ["u@example.org"], due_at=real() + timedelta(hours=1))
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(minutes=5))
    assert leaving_later.move_emails(email.message, None, people.ana) == 1
    assert len(claiming.claim(shared_server().pk, "ours").emails) == 1
