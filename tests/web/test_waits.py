"""Every place that shows bulk mail which waits says for what, and when that is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.diagnostics.verdict import verdict_on_email
from postroom.diagnostics.wait_words import in_full, in_short
from postroom.flows.showing import emails_to_show, shapes_of_emails
from postroom.outgoing import gates
from postroom.outgoing.expecting import expected
from postroom.outgoing.models import Email, Lane
from postroom.outgoing.waits import Wait, waits_of
from postroom.schedule import planning
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.web.next_steps import NextStep
from postroom.web.queue_places import LANE, steps_of
from tests.outgoing.queued import queue
from tests.people import Cast

pytestmark = pytest.mark.django_db
MANAGER = "Mail: Email Queue Manager"


def bulk(people: Cast, *addr_specs: str, **fields: Any) -> list[Email]:
    queue(people.workspace, list(addr_specs), stream=Stream.BULK, is_gated=True, **fields)
    return list(Email.objects.select_related("message", "address", "contact", *LANE).order_by("pk"))


def step_of(email: Email) -> NextStep:
    return steps_of([email])[email.pk].step


@pytest.fixture
def manager(people: Cast) -> ScheduledAction:
    planning.ensure([people.workspace])
    action = ScheduledAction.objects.get(workspace=people.workspace, key="mail_queue")
    action.next_call_at = timezone.now() + timedelta(minutes=40)
    action.save()
    return action


def test_a_row_names_the_action_and_when_it_runs_next(people: Cast, manager: ScheduledAction) -> None:
    [email] = bulk(people, "ben@example.org")
    step = step_of(email)
    assert (step.look, step.at, step.is_final) == ("outgoing", manager.next_call_at, False)
    assert step.words == f"waits for {MANAGER}, which runs"
    assert expected([email])[email.pk].at == manager.next_call_at


def test_a_trigger_makes_that_earlier(people: Cast, manager: ScheduledAction) -> None:
    at = timezone.now() + timedelta(minutes=5)
    Trigger.objects.create(action=manager, at=at)
    [email] = bulk(people, "ben@example.org")
    assert step_of(email).at == at


def test_an_action_that_is_due_is_about_to_run(people: Cast, manager: ScheduledAction) -> None:
    ScheduledAction.objects.update(next_call_at=timezone.now() - timedelta(seconds=5))
    [email] = bulk(people, "ben@example.org")
    assert step_of(email).words == f"waits for {MANAGER}, which is about to run"


def test_an_action_that_is_switched_off_is_said_with_what_to_do(
    people: Cast, manager: ScheduledAction
) -> None:
    ScheduledAction.objects.update(is_active=False)
    [email] = bulk(people, "ben@example.org")
    step = step_of(email)
    assert (step.look, step.words, step.at) == ("held", f"waits for {MANAGER}, which is switched off", None)
    verdict = verdict_on_email(email, None, timezone.now())
    assert "switches it on under Technical, Scheduled Actions" in verdict.sentence
    assert (verdict.who_must_act, verdict.button) == ("An administrator of the workspace", "Send Now")


def test_why_says_it_in_a_sentence(people: Cast, manager: ScheduledAction) -> None:
    [email] = bulk(people, "ben@example.org")
    at = timezone.localtime(manager.next_call_at)
    sentence = verdict_on_email(email, None, timezone.now()).sentence
    assert sentence == f"It waits for {MANAGER}, which runs next on {at:%Y-%m-%d %H:%M}."


def test_mail_for_a_chosen_time_says_that_time(people: Cast, manager: ScheduledAction) -> None:
    at = timezone.now() + timedelta(hours=5)
    [email] = bulk(people, "ben@example.org", due_at=at)
    assert (step_of(email).words, step_of(email).at) == ("scheduled for", at)
    assert verdict_on_email(email, None, timezone.now()).sentence.startswith("It is scheduled for")
    assert expected([email])[email.pk].at == at


def test_what_was_released_waits_for_nothing(people: Cast, manager: ScheduledAction) -> None:
    bulk(people, "ben@example.org")
    gates.release(people.workspace.pk, timezone.now())
    [email] = Email.objects.select_related("address", *LANE)
    assert (waits_of([email], timezone.now()), step_of(email).words) == ({}, "leaves at once")


def test_urgent_mail_leaves_at_once(people: Cast, manager: ScheduledAction) -> None:
    queue(people.workspace, ["ben@example.org"])
    [email] = Email.objects.select_related("address", *LANE)
    assert step_of(email).words == "leaves at once"


def test_a_hold_is_said_before_the_gate_and_no_time_is_promised_before_it(
    people: Cast, manager: ScheduledAction
) -> None:
    bulk(people, "ben@example.org")
    Lane.objects.update(held_until=timezone.now() + timedelta(hours=9), held_because="server_unreachable")
    [email] = Email.objects.select_related("address", *LANE)
    assert step_of(email).look == "held"
    assert expected([email])[email.pk].at is None


def test_programs_are_told_the_key_and_the_words(people: Cast, manager: ScheduledAction) -> None:
    bulk(people, "ben@example.org")
    [shape] = shapes_of_emails(emails_to_show(Email.objects.all()))
    assert (shape.waits_for, shape.waits_reason) == ("mail_queue", f"waits for {MANAGER}")
    assert shape.expected_at == manager.next_call_at


@pytest.mark.parametrize("count", [1, 40])
def test_a_page_asks_once_for_all_rows(people: Cast, manager: ScheduledAction, count: int) -> None:
    emails = bulk(people, *(f"p{number}@example.org" for number in range(count)))
    with CaptureQueriesContext(connection) as asked:
        steps_of(emails)
    assert len(asked) == 1


def test_the_emails_page_shows_it(people: Cast, manager: ScheduledAction, as_ana: Client) -> None:
    bulk(people, "ben@example.org")
    assert f"waits for {MANAGER}" in as_ana.get("/emails").text


def test_the_composer_says_when_bulk_mail_would_leave(
    people: Cast, manager: ScheduledAction, as_ana: Client
) -> None:
    said = {"body": "Hello", "kind": "discussions", "stream": "bulk"}
    page = as_ana.post(f"/records/{people.record.pk}/preview", said)
    assert f"Bulk mail leaves with the next run of {MANAGER}" in page.text
    urgent = as_ana.post(f"/records/{people.record.pk}/preview", {**said, "stream": "urgent"})
    assert MANAGER not in urgent.text
    ScheduledAction.objects.update(is_active=False)
    assert "which is switched off" in as_ana.post(f"/records/{people.record.pk}/preview", said).text


def test_a_campaign_with_a_long_subject_is_named_in_short() -> None:
    wait = Wait("mailing_queue", None, campaign="Spring " * 30)
    assert len(in_short(wait)) < 110
    assert "one after another" in in_full(wait, datetime.now().astimezone())
