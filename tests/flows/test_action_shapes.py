"""What is shown of scheduled actions: states, what waits, when they run next, and the words for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from postroom.conversations.models import ScheduledMessage
from postroom.conversations.models.records import Stream
from postroom.flows import (
    action_shapes,
    action_words,
    dns_checking,
    mailing_turns,
    releasing,
    scheduling,
    sweeping,
    vacuuming,
)
from postroom.flows.action_shapes import ActionShape, actions_to_show, shape_of_action
from postroom.flows.action_words import ActionState, meaning_of, state_of
from postroom.outgoing import gates
from postroom.outgoing.models import Lane
from postroom.schedule.catalogue import SHIPPED
from postroom.schedule.models import ScheduledAction, Trigger
from tests.outgoing.queued import queue
from tests.people import Cast, cast

NOW = datetime(2027, 1, 15, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def shown(people: Cast, key: str = "mail_queue", **changed: Any) -> ActionShape:
    """An action whose next call is in an hour, as it is shown at NOW."""
    values = {"next_call_at": NOW + HOUR, "anchor_at": NOW + HOUR, **changed}
    ScheduledAction.objects.filter(workspace=people.workspace, key=key).update(**values)
    return shape_of_action(actions_to_show(people.olga).get(key=key), now=NOW)


def trigger(people: Cast, at: datetime, *, is_by_hand: bool = False) -> None:
    action = ScheduledAction.objects.get(workspace=people.workspace, key="mail_queue")
    Trigger.objects.create(action=action, at=at, is_by_hand=is_by_hand)


# States.

OFTEN = st.sampled_from
ACTIONS = st.builds(
    ScheduledAction,
    key=OFTEN(list(SHIPPED)),
    is_active=st.booleans(),
    lease=OFTEN(["", "x"]),
    is_unfinished=st.booleans(),
    last_result=OFTEN(["", *ScheduledAction.Result.values]),
    deactivated_at=OFTEN([None, NOW]),
)
TIMES = st.none() | st.timedeltas(-HOUR, HOUR).map(lambda gap: NOW + gap)


@given(ACTIONS, TIMES)
def test_every_action_is_in_a_state_that_has_words(action: ScheduledAction, next_at: datetime | None) -> None:
    state = state_of(action, next_at, NOW)
    assert str(state.label)
    assert meaning_of(action, state).endswith(".")


@given(ACTIONS, TIMES)
def test_only_what_is_off_or_not_there_stays_so_until_somebody_acts(
    action: ScheduledAction, next_at: datetime | None
) -> None:
    state = state_of(action, next_at, NOW)
    if state.is_final:
        assert not action.is_active or not SHIPPED[action.key].is_available


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, ActionState.NEW),
        ({"last_result": "done"}, ActionState.DONE),
        ({"last_result": "failed"}, ActionState.FAILED),
        ({"last_result": "lost"}, ActionState.LOST),
        ({"last_result": "unfinished", "is_unfinished": True}, ActionState.GOES_ON),
        ({"lease": "x", "is_active": False}, ActionState.RUNNING),
        ({"next_call_at": NOW, "last_result": "failed"}, ActionState.DUE),
        ({"is_active": False, "next_call_at": NOW - HOUR}, ActionState.OFF),
        ({"is_active": False, "deactivated_at": NOW}, ActionState.GIVEN_UP),
    ],
)
def test_the_state_is_what_comes_next_else_what_was_last(
    people: Cast, changed: dict[str, Any], state: ActionState
) -> None:
    assert shown(people, **changed).state == state


# When it runs next.


def test_a_trigger_lets_it_run_earlier(people: Cast) -> None:
    trigger(people, NOW + HOUR / 2)
    assert shown(people).runs_next_at == NOW + HOUR / 2


def test_what_is_off_runs_by_hand_only(people: Cast) -> None:
    trigger(people, NOW + HOUR / 2)
    assert shown(people, is_active=False).runs_next_at is None
    trigger(people, NOW, is_by_hand=True)
    asked = shown(people, is_active=False)
    assert (asked.runs_next_at, asked.state) == (NOW, ActionState.DUE)


def test_not_every_trigger_is_named(people: Cast) -> None:
    for minutes in range(30):
        trigger(people, NOW + timedelta(minutes=minutes + 1))
    named = shown(people).triggers
    assert [one.at for one in named] == [NOW + timedelta(minutes=minutes + 1) for minutes in range(20)]


# What waits.


def gate(lane: Lane, at: datetime) -> None:
    Lane.objects.filter(pk=lane.pk).update(released_until=at)


def test_bulk_mail_waits_for_the_queue_manager(people: Cast, monkeypatch: Any) -> None:
    """Also what is to leave later; not what was released, or what is urgent."""
    released = queue(people.workspace, ["a@x.example"], stream=Stream.BULK, due_at=NOW - 3 * HOUR)
    queue(people.workspace, ["b@x.example", "c@x.example"], stream=Stream.BULK, due_at=NOW - HOUR)
    queue(people.workspace, ["d@x.example"], stream=Stream.BULK, due_at=NOW + HOUR)
    queue(people.workspace, ["e@x.example"], stream=Stream.URGENT, due_at=NOW - HOUR)
    gate(released[0].lane, NOW - 2 * HOUR)
    assert shown(people).waiting == 3
    assert shown(people, "auto_vacuum").waiting is None
    monkeypatch.setattr(action_shapes, "COUNTED_TO", 0)
    assert shown(people).waiting == 1  # one more than is counted: "0+"


def test_a_campaign_that_has_not_its_turn_waits_for_the_process_queue(people: Cast) -> None:
    for number, until in enumerate((NOW, gates.FOR_GOOD)):
        [email] = queue(people.workspace, [f"{number}@x.example"], stream=Stream.BULK)
        lane = Lane.objects.create(
            workspace=people.workspace,
            stream=Stream.BULK,
            server=email.lane.server,
            message=email.message,
            released_until=until,
        )
        email.lane = lane
        email.save(update_fields=["lane"])
    assert shown(people, "mailing_queue").waiting == 1


def test_a_message_that_missed_its_time_waits_for_the_action(people: Cast) -> None:
    for gap in (-HOUR, HOUR):
        ScheduledMessage.objects.create(
            workspace=people.workspace, member=people.ana, subtype_key="note", post_at=NOW + gap
        )
    assert shown(people, "scheduled_messages").waiting == 1


def test_a_neighbour_sees_nothing_of_it(people: Cast) -> None:
    neighbours = cast("next")
    [email] = queue(people.workspace, ["a@x.example"], stream=Stream.BULK, due_at=NOW - HOUR)
    gate(email.lane, NOW - 2 * HOUR)
    assert shown(people).waiting == 1
    assert shown(neighbours).waiting == 0


# Words.


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than 0.1 s"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (75.2, "1 min 15 s"),
        (7200, "120 min 0 s"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert action_words.duration(seconds) == words


def test_what_a_run_did_is_said_with_its_numbers() -> None:
    assert (
        action_words.counts_words({"released emails": 1200, "domains checked": 1, "100% new": 3})
        == "1,200 released emails, 1 domain checked, 3 100% new"
    )
    assert action_words.counts_words({}) == ""


def test_all_that_actions_count_is_said_in_one_and_in_many() -> None:
    counted = {
        releasing.RELEASED, mailing_turns.STARTED, mailing_turns.FINISHED, mailing_turns.LEFT,
        scheduling.LATE, scheduling.STUCK, dns_checking.CHECKED, dns_checking.WORSE, sweeping.FILES,
        vacuuming.TEXTS, vacuuming.ATTEMPTS, vacuuming.EVENTS, vacuuming.NOTICES, vacuuming.REFUSALS,
        vacuuming.REQUESTS, vacuuming.SCHEDULED, vacuuming.TRIGGERS,
    }  # fmt: skip
    assert set(action_words._COUNTED) == counted
    for what in counted:
        assert action_words.counts_words({what: 1200}) == f"1,200 {what}"
        assert action_words.counts_words({what: 1}).startswith("1 ")


def test_what_waits_is_said_up_to_a_bound() -> None:
    assert action_words.waiting_words("mail_queue", 0, is_more=False) == ""
    assert action_words.waiting_words("mail_queue", 1, is_more=False) == "1 email waits for it"
    assert action_words.waiting_words("mail_queue", 1000, is_more=True) == "1,000+ emails wait for it"


@given(
    OFTEN(ScheduledAction.Unit.values),
    st.integers(1, 999),
    st.datetimes(timezones=st.just(UTC)),
    OFTEN(["en", "ro", "es"]),
)
def test_every_interval_can_be_said(unit: str, interval: int, local: datetime, language: str) -> None:
    with translation.override(language):
        words = action_words.every(ScheduledAction(unit=unit, interval=interval), local)
    assert "%" not in words
    assert interval == 1 or str(interval) in words
    assert unit in ("minutes", "hours") or f"{local:%H:%M}" in words
