"""What administrators change about scheduled actions, and what they are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.diagnostics.models import Event
from postroom.flows.acting import ActionRuns
from postroom.flows.action_settings import change, switch
from postroom.outgoing.models import Lane
from postroom.schedule import running
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.outgoing.queued import queue
from tests.people import Cast, cast
from tests.schedule.rows import HOUR, MINUTE, only, run, take

SOON = timezone.now().replace(second=0, microsecond=0) + timedelta(days=2)


@pytest.fixture
def action(people: Cast) -> ScheduledAction:
    return only(people.workspace, next_call_at=SOON, anchor_at=SOON)


def test_every_field_can_be_changed_and_who_did_it_is_kept(people: Cast, action: ScheduledAction) -> None:
    change(action, people.olga, interval=2, unit="days", time_zone="europe/madrid", priority=1)
    assert (action.interval, action.unit, action.priority) == (2, "days", 1)
    assert (action.time_zone, action.next_call_at) == ("Europe/Madrid", SOON)
    event = Event.objects.get(kind="action.changed")
    assert event.member == people.olga
    assert event.detail == {
        "key": "mail_queue",
        "before": {"interval": 60, "unit": "minutes", "time_zone": "", "priority": 6},
        "after": {"interval": 2, "unit": "days", "time_zone": "Europe/Madrid", "priority": 1},
    }


def test_what_is_as_before_is_no_change(people: Cast, action: ScheduledAction) -> None:
    change(action, people.olga, interval=60, unit="minutes", is_active=True, next_call_at=SOON)
    assert not Event.objects.filter(kind="action.changed").exists()


def test_the_calls_after_a_new_one_are_counted_from_it(people: Cast, action: ScheduledAction) -> None:
    madrid = ZoneInfo("Europe/Madrid")
    at = (SOON + HOUR).astimezone(madrid)
    change(action, people.olga, interval=1, unit="days", time_zone="Europe/Madrid", next_call_at=at)
    assert (action.next_call_at, action.anchor_at) == (at, at)
    assert run(at) == "mail_queue"
    action.refresh_from_db()
    assert action.next_call_at.astimezone(madrid).time() == at.time()


def test_a_shorter_interval_does_not_wait_for_the_longer_one(people: Cast, action: ScheduledAction) -> None:
    change(action, people.olga, interval=20)
    assert action.next_call_at <= timezone.now() + 20 * MINUTE
    assert action.next_call_at > timezone.now() + 19 * MINUTE


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"interval": 4}, "shortest interval is 5 minutes: every run takes time from all workspaces"),
        ({"interval": 0}, "whole number from 1 to 999"),
        ({"interval": 1000}, "whole number from 1 to 999"),
        ({"unit": "fortnights"}, "no unit fortnights"),
        ({"time_zone": "Europe/Bucuresti"}, "no time zone Europe/Bucuresti.*Europe/Bucharest"),
        ({"next_call_at": SOON - timedelta(days=3)}, "has passed"),
        ({"next_call_at": SOON + timedelta(days=500)}, "more than a year ahead"),
        ({"priority": 100}, "from 0"),
        ({"priority": -1}, "from 0"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    people: Cast, action: ScheduledAction, wanted: dict[str, Any], words: str
) -> None:
    before = ScheduledAction.objects.values().get(pk=action.pk)
    with pytest.raises(RequestRefused, match=words):
        change(action, people.olga, **{"priority": 2, **wanted})
    assert ScheduledAction.objects.values().get(pk=action.pk) == before
    assert not Event.objects.filter(kind="action.changed").exists()


@pytest.mark.parametrize(("interval", "is_warned"), [(5, True), (14, True), (15, False)])
def test_under_fifteen_minutes_for_the_mail_queue_is_done_and_warned_of(
    people: Cast, action: ScheduledAction, interval: int, is_warned: bool
) -> None:
    warnings = change(action, people.olga, interval=interval)
    assert action.interval == interval
    assert bool(warnings) is is_warned
    if is_warned:
        assert "urgent mail leaves at once and does not wait" in warnings[0]


def test_other_actions_may_run_every_five_minutes_without_a_warning(people: Cast) -> None:
    assert change(only(people.workspace, "dns_check"), people.olga, interval=5) == ()


def test_an_hour_that_the_clocks_skip_is_taken_and_the_hour_that_stays_is_named(people: Cast) -> None:
    gap = datetime.fromisoformat("2027-03-28T03:30")
    row = only(people.workspace, "auto_vacuum", time_zone="Europe/Bucharest")
    warnings = change(row, people.olga, next_call_at=gap)
    assert row.next_call_at == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
    assert "the clocks of Europe/Bucharest skip 03:30, so it runs at 04:00" in warnings[0]
    assert not any("skip" in each for each in change(row, people.olga, next_call_at=gap + timedelta(days=1)))


def test_a_next_call_beyond_the_interval_is_taken_with_a_warning(
    people: Cast, action: ScheduledAction
) -> None:
    at = (timezone.now() + timedelta(days=3)).replace(microsecond=0)
    [warning] = change(action, people.olga, next_call_at=at)
    assert f"does not run before {at:%Y-%m-%d %H:%M} UTC" in warning
    assert change(action, people.olga, next_call_at=timezone.now() + 50 * MINUTE) == ()


def test_switching_off_the_email_queue_says_what_waits_and_how_to_let_it_go(
    people: Cast, action: ScheduledAction
) -> None:
    queue(people.workspace, ["a@example.org", "b@example.org"], stream=Stream.BULK, due_at=SOON)
    Lane.objects.update(released_until=timezone.now())
    [warning] = switch(action, people.olga, False)
    assert "All bulk mail waits from now on, until this action is switched on again" in warning
    assert warning.endswith("2 emails wait for it.")
    assert switch(action, people.olga, False) == ()
    assert switch(only(people.workspace, "dns_check"), people.olga, False) == ()


def test_a_running_action_is_not_changed(people: Cast, action: ScheduledAction) -> None:
    assert take(SOON) is not None
    with pytest.raises(ActionRuns, match="Wait a moment"):
        change(action, people.olga, priority=1)
    with pytest.raises(ActionRuns):
        switch(action, people.olga, True)


def test_switching_off_ends_a_run_in_hand_for_good(people: Cast, action: ScheduledAction) -> None:
    assert take(SOON, "mine") is not None
    switch(action, people.olga, False)
    assert not running.renew(action.pk, "mine", {"emails": 2}, SOON)
    assert running.finish(action.pk, "mine", running.Outcome(running.Result.UNFINISHED), SOON) is None
    assert (action.lease, action.is_unfinished, action.last_run_at) == ("", False, SOON)
    assert take(SOON + timedelta(days=30)) is None


@pytest.mark.parametrize("is_running", [True, False])
def test_a_run_by_hand_of_what_is_off_ends_when_it_is_switched_off_again(
    people: Cast, action: ScheduledAction, is_running: bool
) -> None:
    switch(action, people.olga, False)
    Trigger.objects.create(action=action, at=SOON, is_by_hand=True)
    assert run(SOON, running.Result.UNFINISHED, emails=1) == "mail_queue"
    if is_running:
        assert take(SOON) is not None
    switch(action, people.olga, False)
    assert take(SOON + timedelta(days=30)) is None


@pytest.mark.parametrize(
    ("before", "after", "within"),
    [
        ((12, "months"), (1, "days"), timedelta(days=1)),
        ((12, "months"), (2, "weeks"), timedelta(weeks=2)),
        ((12, "months"), (1, "months"), timedelta(days=31)),
        ((4, "weeks"), (3, "days"), timedelta(days=3)),
    ],
)
def test_a_shorter_rhythm_of_days_begins_now_and_keeps_its_hour(
    people: Cast, before: tuple[int, str], after: tuple[int, str], within: timedelta
) -> None:
    far = SOON + timedelta(days=340)
    action = only(people.workspace, interval=before[0], unit=before[1], next_call_at=far, anchor_at=far)
    change(action, people.olga, interval=after[0], unit=after[1])
    assert timezone.now() < action.next_call_at <= timezone.now() + within
    assert (action.next_call_at.time(), action.anchor_at) == (far.time(), action.next_call_at)
    if after[1] == "weeks":
        assert action.next_call_at.weekday() == far.weekday()


def test_a_chosen_call_far_ahead_stays_when_the_rhythm_is_only_repeated(people: Cast) -> None:
    far = SOON + timedelta(days=300)
    action = only(people.workspace, interval=1, unit="days", next_call_at=far, anchor_at=far)
    change(action, people.olga, interval=1, unit="days", priority=2)
    assert action.next_call_at == far


def test_only_administrators_of_the_workspace_change_it(people: Cast, action: ScheduledAction) -> None:
    with pytest.raises(RequestRefused, match="Only an administrator"):
        change(action, people.ana, priority=1)
    with pytest.raises(AcrossTheWall):
        change(action, cast("neighbour").olga, priority=1)


@pytest.mark.parametrize("key", ["mailing_ab", "fetchmail", "webhook_retries"])
def test_what_this_version_cannot_do_stays_off_and_says_why(people: Cast, key: str) -> None:
    row = ScheduledAction.objects.get(workspace=people.workspace, key=key)
    with pytest.raises(RequestRefused, match="This version of Postroom"):
        switch(row, people.olga, True)
    assert not ScheduledAction.objects.get(pk=row.pk).is_active


def test_switched_off_it_leaves_undone_what_was_left_over(people: Cast, action: ScheduledAction) -> None:
    run(SOON, running.Result.UNFINISHED, emails=1)
    switch(action, people.olga, False)
    assert take(SOON + timedelta(days=30)) is None


def test_switched_on_again_it_starts_with_a_clean_slate(people: Cast, action: ScheduledAction) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    ScheduledAction.objects.filter(pk=action.pk).update(
        is_active=False, failure_count=7, failing_since=long_ago, deactivated_at=long_ago, timeout_count=2
    )
    Trigger.objects.create(action=action, at=SOON - MINUTE)
    switch(action, people.olga, True)
    assert (action.failure_count, action.timeout_count) == (0, 0)
    assert (action.failing_since, action.deactivated_at) == (None, None)
    assert run(SOON - MINUTE) == "mail_queue"  # the trigger that waited
