"""Bulk mail from the composer to the relay: nothing leaves without its action, everything with it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.flows import acting, posting, retrying, sending
from postroom.outgoing.models import Email, Lane, MailServer
from postroom.outgoing.relays import shared_server
from postroom.schedule import planning
from postroom.schedule.models import ScheduledAction, Trigger
from tests.flows.test_posting import draft
from tests.flows.test_sending import send
from tests.outgoing.queued import RelayDoor
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see, with actions that are not due for a while."""
    people = cast()
    planning.ensure([people.workspace])
    ScheduledAction.objects.update(next_call_at=timezone.now() + timedelta(hours=1))
    return people


def manager(people: Cast) -> ScheduledAction:
    return ScheduledAction.objects.get(workspace=people.workspace, key="mail_queue")


def drain(settings: Any, door: RelayDoor | None = None) -> list[str]:
    door, _ = send(settings, shared_server().engine_lane, door)
    return sorted(path for mail in door.taken for path in mail.forward_paths)


def test_bulk_mail_leaves_when_the_manager_is_run_by_hand(people: Cast, settings: Any) -> None:
    posting.post(draft(people, stream="bulk"))
    assert (drain(settings), sending.due()) == ([], [])
    acting.run_now(manager(people), people.olga)
    assert acting.run_due() == 1
    assert sending.due() == [shared_server().engine_lane]
    assert drain(settings) == ["ben@example.org"]
    row = manager(people)
    assert (row.last_result, row.last_counts) == ("done", {"released emails": 1})


def test_it_leaves_by_itself_when_the_manager_is_due(people: Cast, settings: Any) -> None:
    posting.post(draft(people, stream="bulk"))
    ScheduledAction.objects.filter(key="mail_queue").update(next_call_at=timezone.now())
    assert acting.run_due() == 1
    assert drain(settings) == ["ben@example.org"]


def test_with_the_manager_switched_off_it_stays_until_somebody_sends_it(people: Cast, settings: Any) -> None:
    ScheduledAction.objects.filter(key="mail_queue").update(is_active=False, next_call_at=timezone.now())
    message = posting.post(draft(people, stream="bulk"))
    assert acting.run_due() == 0
    assert drain(settings) == []
    assert retrying.send_now(Email.objects.filter(message=message), people.ana) == 1
    assert drain(settings) == ["ben@example.org"]


def test_what_a_server_defers_comes_again_at_its_time_and_needs_no_run(people: Cast, settings: Any) -> None:
    assert people.ben.address is not None
    people.ben.address.addr_spec = "greylist@example.org"
    people.ben.address.save()
    posting.post(draft(people, stream="bulk"))
    acting.run_now(manager(people), people.olga)
    acting.run_due()
    door = RelayDoor()
    assert drain(settings, door) == []
    email = Email.objects.select_related("lane").get()
    assert (email.state, email.attempt_count) == ("outgoing", 1)
    assert email.lane.released_until is not None
    assert email.due_at <= email.lane.released_until
    Email.objects.update(due_at=timezone.now())  # its time has come
    MailServer.objects.update(down_until=None)
    Lane.objects.update(held_until=None, held_because="")
    assert Trigger.objects.count() == 0
    assert drain(settings, door) == ["greylist@example.org"]
