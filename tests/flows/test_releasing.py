"""Mail: Email Queue Manager: what its runs let go, and what makes one run early."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.flows import leaving_later, releasing, retrying
from postroom.flows.posting import post
from postroom.outgoing import claiming, gates
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Email, State, Tally
from postroom.outgoing.relays import shared_server
from postroom.schedule import planning
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.work import Run
from tests.flows.test_posting import draft
from tests.outgoing.queued import queue
from tests.people import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _actions(people: Cast) -> None:
    planning.ensure([people.workspace])


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr("postroom.engine.wake", names.append)
    return names


def run(people: Cast) -> dict[str, int]:
    action = ScheduledAction.objects.get(workspace=people.workspace, key="mail_queue")
    done: dict[str, int] = {}
    for step in releasing.release_bulk(Run(action, people.workspace, database_time())):
        done |= step
    return done


def leaving() -> list[str]:
    return [email.addr_spec for email in claiming.claim(shared_server().pk, "ours").emails]


def bulk(people: Cast, *addr_specs: str, **fields: Any) -> list[Email]:
    return queue(people.workspace, list(addr_specs), stream=Stream.BULK, is_gated=True, **fields)


def triggers(people: Cast) -> list[Trigger]:
    return list(Trigger.objects.filter(action__workspace=people.workspace, action__key="mail_queue"))


def test_posted_bulk_mail_leaves_with_the_next_run(people: Cast) -> None:
    post(draft(people, stream="bulk"))
    assert leaving() == []
    assert run(people) == {releasing.RELEASED: 1}
    assert leaving() == ["ben@example.org"]


def test_posted_urgent_mail_leaves_at_once(people: Cast) -> None:
    post(draft(people))
    assert leaving() == ["ben@example.org"]


def test_a_run_wakes_the_servers_of_all_that_is_due(
    people: Cast, woken: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run(people)
    assert woken == []
    queue(people.workspace, ["urgent@example.org"])
    with django_capture_on_commit_callbacks(execute=True):
        run(people)
    assert woken == [shared_server().engine_lane]


def test_retry_lets_the_manager_run_at_once(people: Cast) -> None:
    [email] = bulk(people, "ben@example.org")
    Email.objects.update(state=State.FAILED)
    Tally.objects.update(outgoing_count=0, failed_count=1)
    run(people)
    retrying.retry([email.pk], people.ana)
    assert leaving() == []
    [trigger] = triggers(people)
    assert trigger.at <= timezone.now()
    run(people)
    assert leaving() == ["ben@example.org"]


def test_retry_of_urgent_mail_needs_no_run(people: Cast) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    Email.objects.update(state=State.FAILED)
    Tally.objects.update(outgoing_count=0, failed_count=1)
    retrying.retry([email.pk], people.ana)
    assert triggers(people) == []
    assert leaving() == ["ben@example.org"]


def test_send_now_takes_one_bulk_mail_past_the_gate(people: Cast) -> None:
    first, _second = bulk(people, "ben@example.org", "dora@example.org")
    assert retrying.send_now([first.pk], people.ana) == 1
    assert leaving() == ["ben@example.org"]


def test_bulk_mail_for_a_time_leaves_then_and_not_before(people: Cast) -> None:
    at = timezone.now() + timedelta(hours=3)
    message = post(draft(people, stream="bulk", send_at=at))
    [trigger] = triggers(people)
    assert timedelta(0) <= trigger.at - at < timedelta(minutes=1)
    run(people)
    assert leaving() == []
    Email.objects.filter(message=message).update(due_at=timezone.now() - timedelta(seconds=1))
    run(people)
    assert leaving() == ["ben@example.org"]


def test_urgent_mail_for_a_time_needs_no_run(people: Cast) -> None:
    post(draft(people, send_at=timezone.now() + timedelta(hours=3)))
    assert triggers(people) == []


def test_bulk_mail_that_is_moved_finds_a_run_at_its_new_time(people: Cast) -> None:
    message = post(draft(people, stream="bulk"))
    at = timezone.now() + timedelta(hours=3)
    leaving_later.move_emails(message, at, people.ana)
    assert [timedelta(0) <= trigger.at - at < timedelta(minutes=1) for trigger in triggers(people)] == [True]


def test_bulk_mail_that_is_moved_to_now_leaves_now(people: Cast) -> None:
    message = post(draft(people, stream="bulk", send_at=timezone.now() + timedelta(hours=3)))
    leaving_later.move_emails(message, None, people.ana)
    assert leaving() == ["ben@example.org"]


def test_what_a_run_let_go_is_counted_and_only_once(people: Cast) -> None:
    bulk(people, *(f"p{number}@example.org" for number in range(5)))
    assert run(people) == {releasing.RELEASED: 5}
    assert run(people) == {}
    assert not any(gates.is_shut_for(email) for email in Email.objects.select_related("lane"))
