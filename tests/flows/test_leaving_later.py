"""What is posted now and mailed later."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models import Message, Notification
from postroom.diagnostics.models import Event
from postroom.diagnostics.trail import trail
from postroom.flows import posting, sending
from postroom.flows.drafts import Draft, PostRefused
from postroom.flows.leaving_later import call_off_emails, move_emails
from postroom.outgoing.models import Email
from postroom.web.next_steps import next_step
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.outgoing.queued import relay, tally_adds_up
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


def post(people: Cast, send_at: datetime | None, **changes: Any) -> Message:
    given = {"author": people.ana_contact, "member": people.ana, "text": "Hello", **changes}
    return posting.post(Draft(workspace=people.workspace, record=people.record, send_at=send_at, **given))


def soon(**length: float) -> datetime:
    return timezone.now() + timedelta(**length)


def drain(settings: Any) -> tuple[int, datetime | None]:
    """How many mails left, and when the lanes want to be asked again."""
    lane = Email.objects.select_related("lane__server").all()[0].lane.server.engine_lane

    async def story() -> tuple[int, datetime | None]:
        async with relay(settings) as door:
            return len(door.taken), await asyncio.wait_for(sending.drain(lane), 20)

    return asyncio.run(story())


def test_the_emails_wait_and_only_they(people: Cast, settings: Any) -> None:
    at = soon(hours=3)
    message = post(people, at, named=[people.olga_contact])
    email = Email.objects.select_related("lane", "message").get()
    assert (email.due_at, email.is_listed, message.send_at) == (at, True, at)
    assert Notification.objects.filter(message=message, member=people.olga).exists()
    assert drain(settings) == (0, at)
    step = next_step(email, timezone.now())
    assert (step.words, step.at) == ("scheduled for", at)
    assert "scheduled for" in trail(message, "ben@example.org").verdict


def test_they_leave_when_they_are_due(people: Cast, settings: Any) -> None:
    post(people, soon(hours=3))
    Email.objects.update(due_at=timezone.now())
    drain(settings)
    assert Email.objects.get().state == "sent"


def test_they_are_moved_and_it_is_noted_by_whom(people: Cast) -> None:
    message = post(people, soon(hours=3))
    at = soon(hours=9)
    assert move_emails(message, at, people.olga) == 1
    message.refresh_from_db()
    assert (message.send_at, Email.objects.get().due_at) == (at, at)
    assert Event.objects.get(kind="emails.moved").member == people.olga


@pytest.mark.parametrize("at", [None, timedelta(hours=-1)])
def test_without_a_time_or_with_one_that_has_passed_they_leave_at_once(
    people: Cast, settings: Any, at: timedelta | None
) -> None:
    message = post(people, soon(hours=3))
    move_emails(message, None if at is None else timezone.now() + at, people.ana)
    message.refresh_from_db()
    assert message.send_at is None
    drain(settings)
    assert Email.objects.get().state == "sent"


def test_they_are_called_off_and_the_message_stays(people: Cast) -> None:
    message = post(people, soon(hours=3))
    assert call_off_emails(message, people.ana) == 1
    assert Email.objects.get().state == "cancelled"
    assert tally_adds_up(message)
    with pytest.raises(RequestRefused, match="have left already"):
        call_off_emails(message, people.ana)
    with pytest.raises(RequestRefused, match="have left already"):
        move_emails(message, None, people.ana)


def test_what_a_worker_has_in_hand_is_neither_moved_nor_called_off(people: Cast) -> None:
    message = post(people, soon(hours=3))
    Email.objects.update(lease="x")
    with pytest.raises(RequestRefused):
        move_emails(message, soon(hours=9), people.ana)
    with pytest.raises(RequestRefused):
        call_off_emails(message, people.ana)


def test_more_than_a_year_ahead_is_refused_and_a_time_that_has_passed_is_now(people: Cast) -> None:
    with pytest.raises(PostRefused, match="year"):
        post(people, soon(days=400))
    assert not Email.objects.exists()
    assert post(people, soon(hours=-1)).send_at is None


def test_a_neighbour_moves_nothing(people: Cast) -> None:
    message = post(people, soon(hours=3))
    olga = cast("neighbour").olga
    with pytest.raises(AcrossTheWall):
        call_off_emails(message, olga)
    with pytest.raises(AcrossTheWall):
        move_emails(message, None, olga)
