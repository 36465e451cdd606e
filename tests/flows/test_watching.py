"""Who is told that mail does not get away, when, and how often."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from postroom.conversations.models import Notification
from postroom.conversations.models.records import Stream
from postroom.diagnostics.meters import piece_at
from postroom.diagnostics.models import Sample
from postroom.flows import watching
from postroom.outgoing.models import Email, Lane, MailServer, Tally
from postroom.outgoing.relays import lane_of
from postroom.web.notice_words import page_of, words_of
from postroom.workspaces.models import Member, Role
from tests.outgoing.queued import queue
from tests.people import Cast

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def now(people: Cast) -> datetime:
    """A time; Ana administers the workspace, Olga operates the installation."""
    Member.objects.filter(pk=people.ana.pk).update(role=Role.ADMIN)
    Member.objects.filter(pk=people.olga.pk).update(role=Role.OPERATOR)
    return timezone.now()


def told(member: Member) -> list[tuple[str, int]]:
    notices = Notification.objects.filter(member=member, kind=Notification.Kind.NOTICE)
    return list(notices.order_by("pk").values_list("reason", "count"))


@pytest.mark.parametrize(("stream", "patience"), [(Stream.URGENT, 5 * MINUTE), (Stream.BULK, 30 * MINUTE)])
def test_a_lane_is_slow_once_its_stream_has_waited_too_long(
    people: Cast, now: datetime, stream: Stream, patience: timedelta
) -> None:
    queue(people.workspace, ["a@example.org"], stream=stream, due_at=now)
    Lane.objects.update(released_until=None)
    watching.look(now + patience - MINUTE)
    assert told(people.ana) == []
    watching.look(now + patience + MINUTE)
    assert told(people.ana) == [("mail_slow", 1)]
    assert told(people.olga) == [("mail_slow_here", 1)]


def test_it_is_told_once_until_it_is_well_again(people: Cast, now: datetime) -> None:
    [email] = queue(people.workspace, ["a@example.org"], due_at=now - HOUR)
    for minute in range(3):
        watching.look(now + minute * MINUTE)
    assert told(people.ana) == [("mail_slow", 1)]
    assert Lane.objects.get(pk=email.lane_id).slow_told_at == now
    Email.objects.update(state="sent")
    watching.look(now + 4 * MINUTE)
    assert Lane.objects.get(pk=email.lane_id).slow_told_at is None
    Email.objects.update(state="outgoing")
    watching.look(now + 5 * MINUTE)
    assert told(people.ana) == [("mail_slow", 2)]


def test_another_release_of_the_same_mail_does_not_make_it_well(people: Cast, now: datetime) -> None:
    queue(people.workspace, ["a@example.org"], stream=Stream.BULK, due_at=now - 2 * HOUR)
    Lane.objects.update(released_until=now - HOUR)
    watching.look(now)
    Lane.objects.update(released_until=now)
    watching.look(now + MINUTE)
    watching.look(now + 40 * MINUTE)
    assert told(people.ana) == [("mail_slow", 1)]


@pytest.mark.parametrize(
    "kept",
    [
        {"is_paused": True},
        {"held_until": timezone.now() + HOUR, "held_because": "daily_limit"},
        {"held_until": timezone.now() + HOUR, "held_because": "server_unreachable"},
    ],
)
def test_what_explains_itself_is_not_slow(people: Cast, now: datetime, kept: dict[str, object]) -> None:
    queue(people.workspace, ["a@example.org"], due_at=now - 2 * HOUR)
    Lane.objects.update(**kept)
    watching.look(now)
    assert told(people.ana) == told(people.olga) == []


def test_bulk_mail_behind_its_gate_is_not_slow(people: Cast, now: datetime) -> None:
    queue(people.workspace, ["a@example.org"], stream=Stream.BULK, due_at=now - 2 * HOUR)
    Lane.objects.update(released_until=now - 3 * HOUR)
    watching.look(now)
    assert told(people.ana) == []


def test_trouble_with_a_server_is_told_again_after_four_hours(people: Cast, now: datetime) -> None:
    queue(people.workspace, ["a@example.org"], due_at=now)
    Lane.objects.update(held_until=now + 9 * HOUR, held_because="server_unreachable")
    MailServer.objects.update(failing_since=now)
    watching.look(now + 4 * HOUR - MINUTE)
    assert told(people.ana) == []
    watching.look(now + 4 * HOUR + MINUTE)
    watching.look(now + 5 * HOUR)
    assert told(people.ana) == [("long_down", 1)]
    assert told(people.olga) == [("long_down_here", 1)]


def mailing(people: Cast, now: datetime) -> Lane:
    """A mailing at its turn."""
    [email] = queue(people.workspace, ["a@example.org"], stream=Stream.BULK, due_at=now)
    lane = lane_of(people.workspace, Stream.BULK)
    lane.pk, lane.message, lane.released_until = None, email.message, None
    lane.save(force_insert=True)
    Email.objects.filter(pk=email.pk).update(lane=lane)
    return lane


def test_a_mailing_at_its_turn_that_sends_nothing_has_stalled(people: Cast, now: datetime) -> None:
    lane = mailing(people, now)
    for minute in range(0, 36, 5):
        watching.look(now + minute * MINUTE)
        assert bool(told(people.ana)) is (minute >= 30)
    assert told(people.ana) == [("mailing_stalled", 1)]
    assert Lane.objects.get(pk=lane.pk).slow_told_at is not None


def test_a_mailing_that_gets_on_has_not_stalled_however_long_it_takes(people: Cast, now: datetime) -> None:
    mailing(people, now)
    Tally.objects.update(total_count=9, outgoing_count=9)
    for minute in range(0, 46, 5):
        watching.look(now + minute * MINUTE)
        if minute % 20 == 0:
            Tally.objects.update(outgoing_count=F("outgoing_count") - 1, sent_count=F("sent_count") + 1)
    assert told(people.ana) == []


def test_a_line_of_the_log_names_the_lane(
    people: Cast, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    queue(people.workspace, ["a@example.org"], due_at=now - HOUR)
    with caplog.at_level(logging.WARNING):
        watching.look(now)
    assert f"Mail leaves too slowly: {Lane.objects.get()} (mail_slow)" in caplog.text


def test_the_queue_is_sampled_once_in_each_piece_of_time(people: Cast, now: datetime) -> None:
    queue(people.workspace, ["a@example.org", "b@example.org"], due_at=now - 2 * MINUTE)
    at = piece_at(now)
    watching.look(at)
    watching.look(at + MINUTE)
    depths = Sample.objects.filter(name="depth")
    assert dict(depths.values_list("label", "value")) == {"urgent": 2, "bulk": 0}
    watching.look(at + 5 * MINUTE)
    assert depths.count() == 4


def test_samples_are_kept_for_eight_days(people: Cast, now: datetime) -> None:
    Sample.objects.create(at=now - timedelta(days=9), name="depth", label="urgent")
    kept = Sample.objects.create(at=now - timedelta(days=7), name="depth", label="urgent")
    watching.look(now)
    assert Sample.objects.order_by("at").first() == kept


@pytest.mark.parametrize("reason", ["mail_slow", "mailing_stalled", "long_down"])
def test_every_reason_has_its_words_and_a_page(reason: str) -> None:
    for each in (reason, reason + watching.FOR_OPERATORS):
        assert words_of(each) != each
        assert len(each) <= 20
        assert page_of(each)
