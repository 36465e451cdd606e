"""Campaigns leave one after another, the one that was written first goes first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction

from postroom.conversations.models import Message
from postroom.conversations.models.records import Stream
from postroom.flows import leaving_later, mailing_turns, releasing, retrying
from postroom.outgoing import claiming, gates
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Email, Lane, MailServer, State, Tally
from postroom.outgoing.relays import shared_server
from postroom.outgoing.waits import waits_of
from postroom.schedule import planning
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.work import Run
from postroom.workspaces import parameters
from tests.outgoing.queued import queue
from tests.people import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _actions(people: Cast) -> None:
    planning.ensure([people.workspace])


def mailing(people: Cast, subject: str, *, age_days: int = 0, **fields: Any) -> Message:
    """A campaign to two people in a lane of its own, shut."""
    slug = subject.lower()
    emails = queue(
        people.workspace,
        [f"{slug}1@example.org", f"{slug}2@example.org"],
        stream=Stream.BULK,
        message={"subject": subject},
        **fields,
    )
    message = emails[0].message
    lane = Lane.objects.create(
        workspace=people.workspace,
        stream=Stream.BULK,
        server=shared_server(),
        message=message,
        released_until=gates.shut_at() - timedelta(days=1),
    )
    Email.objects.filter(message=message).update(lane=lane)
    created_at = message.created_at - timedelta(days=age_days)
    Message.objects.filter(pk=message.pk).update(created_at=created_at)
    return message


def run(people: Cast, key: str = "mailing_queue") -> dict[str, int]:
    work = mailing_turns.take_turns if key == "mailing_queue" else releasing.release_bulk
    action = ScheduledAction.objects.get(workspace=people.workspace, key=key)
    done: dict[str, int] = {}
    steps: Iterator[Mapping[str, int]] = work(Run(action, people.workspace, database_time()))
    for step in steps:
        done |= step
    return done


def leaving() -> set[str]:
    """Which campaigns a claim takes from."""
    taken = claiming.claim(shared_server().pk, "ours").emails
    return {email.addr_spec[:-13] for email in taken}


def finish(message: Message) -> None:
    Email.objects.filter(message=message).update(state=State.SENT, lease="", leased_until=None)
    Tally.objects.filter(message=message).update(outgoing_count=0, sent_count=2)


def test_nothing_of_a_campaign_leaves_before_its_turn(people: Cast) -> None:
    mailing(people, "Spring")
    assert leaving() == set()
    assert run(people) == {mailing_turns.STARTED: 1}
    assert leaving() == {"spring"}


def test_the_campaign_that_was_written_first_goes_first(people: Cast) -> None:
    mailing(people, "Summer")
    mailing(people, "Spring", age_days=1)
    run(people)
    assert leaving() == {"spring"}


def test_the_next_one_starts_only_when_nothing_of_the_first_waits_any_more(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    mailing(people, "Summer")
    run(people)
    assert leaving() == {"spring"}
    assert run(people) == {}
    finish(first)
    assert run(people) == {mailing_turns.FINISHED: 1, mailing_turns.STARTED: 1}
    assert leaving() == {"summer"}


def test_an_older_campaign_that_comes_later_does_not_interrupt_the_one_that_leaves(people: Cast) -> None:
    mailing(people, "Summer")
    run(people)
    mailing(people, "Spring", age_days=1)
    assert run(people) == {}
    assert leaving() == {"summer"}


def test_a_paused_campaign_keeps_the_others_waiting(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    mailing(people, "Summer")
    Lane.objects.filter(message=first).update(is_paused=True)
    run(people)
    assert (run(people), leaving()) == ({}, set())


def test_a_campaign_without_anybody_never_blocks(people: Cast) -> None:
    finish(mailing(people, "Spring", age_days=1))
    mailing(people, "Summer")
    run(people)
    assert leaving() == {"summer"}


def test_a_campaign_for_a_later_day_does_not_block_those_that_are_due(people: Cast) -> None:
    later = database_time() + timedelta(days=3)
    mailing(people, "Spring", age_days=1, due_at=later)
    mailing(people, "Summer")
    run(people)
    assert leaving() == {"summer"}


def test_when_the_first_is_cancelled_the_action_runs_at_once(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    mailing(people, "Summer")
    run(people)
    retrying.cancel(Email.objects.filter(message=first), people.olga)
    assert triggered(people) == {"mailing_queue"}
    run(people)
    assert leaving() == {"summer"}


def test_when_the_last_email_of_the_first_has_left_the_action_runs_at_once(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    mailing(people, "Summer")
    run(people)
    mailing_turns.go_on()
    assert triggered(people) == set()
    finish(first)
    mailing_turns.go_on()
    assert triggered(people) == {"mailing_queue"}


def test_what_is_tried_again_keeps_its_turn(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    run(people)
    later = database_time() + timedelta(hours=1)
    Email.objects.filter(message=first).update(due_at=later)
    _, lanes = claiming.waiting()
    assert [lane.opens_at(database_time()) for lane in lanes] == [later]


def test_send_now_lets_no_campaign_overtake(people: Cast) -> None:
    mailing(people, "Spring", age_days=1)
    second = mailing(people, "Summer")
    run(people)
    done = retrying.send_now_what_can(Email.objects.filter(message=second), people.olga)
    assert done.count == 0
    assert all("one after another" in why for why in done.left.values())


def test_a_failed_email_of_a_finished_campaign_gets_another_turn_by_retry(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    run(people)
    finish(first)
    run(people)
    email = Email.objects.filter(message=first).first()
    assert email is not None
    Email.objects.filter(pk=email.pk).update(state=State.FAILED)
    Tally.objects.filter(message=first).update(sent_count=1, failed_count=1)
    assert retrying.retry([email.pk], people.olga) == 1
    assert (leaving(), triggered(people)) == (set(), {"mailing_queue"})
    run(people)
    assert leaving() == {"spring"}


def test_a_later_campaign_says_which_one_it_waits_for(people: Cast) -> None:
    first, second = mailing(people, "Spring", age_days=1), mailing(people, "Summer")
    emails = Email.objects.select_related("lane").filter(message__in=[first, second])
    waits = waits_of(emails, database_time())
    said = {email.message_id: waits[email.pk] for email in emails}
    assert (said[first.pk].key, said[first.pk].campaign) == ("mailing_queue", "")
    assert (said[second.pk].campaign, said[second.pk].runs_at) == ("Spring", None)


def test_by_the_older_way_the_email_queue_manager_gives_the_turns(people: Cast) -> None:
    first = mailing(people, "Spring", age_days=1)
    mailing(people, "Summer")
    parameters.put(people.workspace.pk, "mail.campaigns.by_queue", "on")
    assert run(people) == {mailing_turns.LEFT: 1}
    assert leaving() == set()
    email = Email.objects.select_related("lane").filter(message=first)
    assert {wait.key for wait in waits_of(email, database_time()).values()} == {"mail_queue"}
    assert run(people, "mail_queue") == {mailing_turns.STARTED: 1}
    assert leaving() == {"spring"}
    finish(first)
    mailing_turns.go_on()
    assert triggered(people) == set(), "the next one waits for the run that is due anyway"


def test_what_joins_a_campaign_in_another_lane_leaves_in_its_turn_and_blocks_nobody(people: Cast) -> None:
    first, second = mailing(people, "Spring", age_days=1), mailing(people, "Summer")
    run(people)
    server = MailServer.objects.create(workspace=people.workspace, name="Other", host="other.example")
    late = Lane.objects.create(
        workspace=people.workspace,
        stream=Stream.BULK,
        server=server,
        message=first,
        released_until=gates.shut_at(),
    )
    email = Email.objects.filter(message=first).first()
    assert email is not None
    Email.objects.filter(pk=email.pk).update(lane=late)
    mailing_turns.go_on()
    assert triggered(people) == {"mailing_queue"}
    assert run(people) == {}
    assert [taken.email_id for taken in claiming.claim(server.pk, "theirs").emails] == [email.pk]
    finish(first)
    run(people)
    assert leaving() == {"summer"}
    assert Lane.objects.get(message=second).released_until == gates.FOR_GOOD


def test_a_campaign_that_is_moved_finds_its_own_action_then(people: Cast) -> None:
    message = mailing(people, "Spring")
    at = (database_time() + timedelta(hours=3)).replace(second=0, microsecond=0)
    leaving_later.move_emails(message, at, people.olga)
    assert list(Trigger.objects.values_list("action__key", "at")) == [("mailing_queue", at)]


def test_a_campaign_that_is_moved_to_now_waits_for_its_turn_and_asks_for_it(people: Cast) -> None:
    message = mailing(people, "Spring")
    leaving_later.move_emails(message, None, people.olga)
    assert (leaving(), triggered(people)) == (set(), {"mailing_queue"})
    run(people)
    assert leaving() == {"spring"}


def test_a_campaign_that_becomes_due_after_the_one_before_it_finds_a_run_then(people: Cast) -> None:
    first, second = mailing(people, "Spring", age_days=1), mailing(people, "Summer")
    due_at = database_time().replace(second=0, microsecond=0) + timedelta(hours=1)
    Email.objects.filter(message=second).update(due_at=due_at)
    run(people)
    finish(first)
    assert run(people) == {mailing_turns.FINISHED: 1}
    assert list(Trigger.objects.values_list("action__key", "at")) == [("mailing_queue", due_at)]


@pytest.mark.django_db(transaction=True)
def test_a_retry_while_its_turn_ends_lets_no_two_campaigns_leave_at_once(people: Cast) -> None:
    first, _ = mailing(people, "Spring", age_days=1), mailing(people, "Summer")
    run(people)
    finish(first)
    email = Email.objects.filter(message=first).first()
    assert email is not None
    Email.objects.filter(pk=email.pk).update(state=State.FAILED)
    Tally.objects.filter(message=first).update(sent_count=1, failed_count=1)
    is_inside, may_end = threading.Event(), threading.Event()

    def retry() -> None:
        with transaction.atomic():
            retrying.retry([email.pk], people.olga)
            is_inside.set()
            may_end.wait(10)

    one = threading.Thread(target=_alone, args=(retry,))
    other = threading.Thread(target=_alone, args=(lambda: run(people),))
    one.start()
    assert is_inside.wait(10)
    other.start()
    other.join(0.5)
    may_end.set()
    one.join()
    other.join()
    assert len(leaving()) == 1


def _alone(act: Callable[[], object]) -> None:
    """In a thread, whose connection is closed again."""
    try:
        act()
    finally:
        connections.close_all()


def triggered(people: Cast) -> set[str]:
    rows = Trigger.objects.filter(action__workspace=people.workspace)
    return set(rows.values_list("action__key", flat=True))
