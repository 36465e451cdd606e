"""Who has an action in hand, and what became of its run."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from postroom.schedule import running
from postroom.schedule.clock import by_own_clock
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.running import Cause, Outcome, Result
from tests.people import Cast
from tests.schedule.rows import HOUR, KEYS, MINUTE, NOON, all_runs, only, run, take

DAY = timedelta(days=1)


def test_an_action_is_taken_at_its_time_and_not_before(people: Cast) -> None:
    action = only(people.workspace)
    assert take(NOON - MINUTE) is None
    taken = take(NOON)
    assert taken is not None
    assert (taken.action.pk, taken.cause) == (action.pk, Cause.TIME)


def test_nobody_takes_what_somebody_has_in_hand(people: Cast) -> None:
    only(people.workspace)
    assert take(NOON, "mine") is not None
    assert take(NOON + HOUR, "theirs") is None


def test_an_action_that_this_version_cannot_do_is_left_alone(people: Cast) -> None:
    only(people.workspace)
    assert running.take("lease", ["dns_check"], NOON) is None


def test_a_run_that_is_done_is_followed_by_the_next_call(people: Cast) -> None:
    action = only(people.workspace, failure_count=3, failing_since=NOON - DAY, last_error="Oh")
    assert take(NOON + MINUTE) is not None
    running.finish(action.pk, "lease", Outcome(Result.DONE, {"emails": 3}), NOON + 2 * MINUTE)
    action.refresh_from_db()
    assert (action.next_call_at, action.last_result, action.last_counts) == (
        NOON + HOUR,
        "done",
        {"emails": 3},
    )
    assert (action.last_run_at, action.last_seconds) == (NOON + MINUTE, 60.0)
    assert action.last_success_at == NOON + 2 * MINUTE
    assert (action.failure_count, action.failing_since, action.last_error) == (0, None, "")
    assert (action.lease, action.leased_until, action.began_at) == ("", None, None)


def test_a_call_that_falls_due_during_a_run_is_not_passed_over(people: Cast) -> None:
    action = only(people.workspace, interval=5)
    assert take(NOON) is not None
    running.finish(action.pk, "lease", Outcome(Result.DONE), NOON + 6 * MINUTE)
    action.refresh_from_db()
    assert action.next_call_at == NOON + 5 * MINUTE


def test_what_was_missed_while_nothing_ran_is_made_up_by_one_run(people: Cast) -> None:
    action = only(people.workspace)
    assert all_runs(NOON + 5 * HOUR + MINUTE) == ["mail_queue"]
    action.refresh_from_db()
    assert action.next_call_at == NOON + 6 * HOUR


def test_actions_run_by_failures_then_priority_then_age(people: Cast) -> None:
    rows = ScheduledAction.objects.filter(workspace=people.workspace, key__in=KEYS)
    rows.update(next_call_at=NOON, anchor_at=NOON)
    rows.filter(key="auto_vacuum").update(failure_count=1, failing_since=NOON - HOUR)
    expected = ["scheduled_messages", "dns_check", "mail_queue", "mailing_queue", "auto_vacuum"]
    assert all_runs(NOON) == expected


def test_what_was_left_over_goes_on_at_once_but_after_the_others(people: Cast) -> None:
    rows = ScheduledAction.objects.filter(workspace=people.workspace, key__in=KEYS)
    rows.update(next_call_at=NOON, anchor_at=NOON)
    assert run(NOON, Result.UNFINISHED, emails=5) == "auto_vacuum"
    assert all_runs(NOON)[-1] == "auto_vacuum"
    assert all_runs(NOON) == []


def test_of_several_left_over_each_gets_its_turn(people: Cast) -> None:
    rows = ScheduledAction.objects.filter(workspace=people.workspace, key__in=["auto_vacuum", "dns_check"])
    rows.update(next_call_at=NOON, anchor_at=NOON)
    seconds = timedelta(seconds=10)
    ran = [run(NOON + number * seconds, Result.UNFINISHED, emails=1) for number in range(6)]
    assert ran == ["auto_vacuum", "dns_check"] * 3


def test_an_unfinished_run_by_a_trigger_goes_on_before_the_next_call(people: Cast) -> None:
    action = only(people.workspace, next_call_at=NOON + HOUR)
    Trigger.objects.create(action=action, at=NOON)
    assert run(NOON, Result.UNFINISHED, emails=1) == "mail_queue"
    taken = take(NOON + MINUTE)
    assert taken is not None
    assert taken.cause == Cause.UNFINISHED
    assert taken.action.next_call_at == NOON + HOUR


def test_a_failure_is_tried_again_at_the_next_call(people: Cast) -> None:
    action = only(people.workspace)
    assert run(NOON, Result.FAILED, error="ValueError: no", emails=2) == "mail_queue"
    assert take(NOON + 59 * MINUTE) is None
    action.refresh_from_db()
    assert (action.failure_count, action.failing_since) == (1, NOON)
    assert (action.last_error, action.last_counts) == ("ValueError: no", {"emails": 2})
    assert action.last_success_at is None


@pytest.mark.parametrize(
    ("count", "age", "is_still_active"),
    [(4, 8 * DAY, False), (3, 8 * DAY, True), (40, 7 * DAY, True), (4, 7 * DAY + MINUTE, False)],
)
def test_five_failures_over_more_than_a_week_switch_it_off(
    people: Cast, count: int, age: timedelta, is_still_active: bool
) -> None:
    action = only(people.workspace, failure_count=count, failing_since=NOON - age)
    run(NOON, Result.FAILED, error="ValueError: no")
    action.refresh_from_db()
    assert action.is_active is is_still_active
    assert action.deactivated_at == (None if is_still_active else NOON)


def test_a_lease_that_is_renewed_is_not_lost(people: Cast) -> None:
    action = only(people.workspace)
    take(NOON)
    assert running.renew(action.pk, "lease", {"emails": 1}, NOON + running.LEASE / 2)
    assert running.recover(is_alone=False, now=NOON + running.LEASE) == []
    assert len(running.recover(is_alone=False, now=NOON + running.LEASE * 2)) == 1


def test_a_lost_run_goes_on_and_its_worker_can_no_longer_end_it(people: Cast) -> None:
    action = only(people.workspace)
    take(NOON, "gone")
    assert running.has_lost(NOON + running.LEASE)
    (lost,) = running.recover(is_alone=False, now=NOON + running.LEASE)
    assert (lost.last_result, lost.timeout_count, lost.lease) == (Result.LOST, 1, "")
    taken = take(NOON + running.LEASE, "next")
    assert taken is not None
    assert running.finish(action.pk, "gone", Outcome(Result.DONE), NOON + 2 * MINUTE) is None
    assert not running.renew(action.pk, "gone", {}, NOON + 2 * MINUTE)
    action.refresh_from_db()
    assert (action.lease, action.timeout_count) == ("next", 1)


def test_a_lost_run_of_a_trigger_is_not_forgotten(people: Cast) -> None:
    action = only(people.workspace, next_call_at=NOON + HOUR)
    Trigger.objects.create(action=action, at=NOON)
    assert take(NOON) is not None
    running.recover(is_alone=True, now=NOON)
    assert take(NOON) is not None


def test_an_engine_that_is_alone_waits_for_no_lease(people: Cast) -> None:
    only(people.workspace)
    take(NOON)
    assert running.recover(is_alone=False, now=NOON) == []
    assert len(running.recover(is_alone=True, now=NOON)) == 1


def test_three_lost_runs_without_progress_count_as_a_failure_without_another_run(people: Cast) -> None:
    action = only(people.workspace)
    for count in (1, 2):
        assert take(NOON) is not None
        running.recover(is_alone=True, now=NOON)
        action.refresh_from_db()
        assert (action.timeout_count, action.failure_count) == (count, 0)
    assert take(NOON) is not None
    running.recover(is_alone=True, now=NOON)
    action.refresh_from_db()
    assert (action.timeout_count, action.failure_count, action.last_result) == (0, 1, Result.FAILED)
    assert action.last_error == running.NEVER_CAME_BACK
    assert take(NOON) is None
    assert action.next_call_at == NOON + HOUR


def test_lost_runs_that_come_somewhere_are_no_failure(people: Cast) -> None:
    action = only(people.workspace)
    for _ in range(5):
        assert take(NOON) is not None
        running.renew(action.pk, "lease", {"emails": 200}, NOON)
        running.recover(is_alone=True, now=NOON)
    action.refresh_from_db()
    assert (action.timeout_count, action.failure_count) == (0, 0)


def test_an_action_that_is_off_runs_by_hand_alone(people: Cast) -> None:
    action = only(people.workspace, is_active=False)
    Trigger.objects.create(action=action, at=NOON)
    assert take(NOON + HOUR) is None
    Trigger.objects.create(action=action, at=NOON, is_by_hand=True)
    taken = take(NOON)
    assert taken is not None
    assert taken.cause == Cause.HAND
    assert not action.triggers.exists()
    running.finish(action.pk, "lease", Outcome(Result.DONE), NOON)
    assert take(NOON + DAY) is None


def test_a_trigger_lets_it_run_early_and_leaves_the_next_call_alone(people: Cast) -> None:
    action = only(people.workspace, next_call_at=NOON + HOUR)
    Trigger.objects.create(action=action, at=NOON)
    Trigger.objects.create(action=action, at=NOON + 2 * MINUTE)
    assert take(NOON - MINUTE) is None
    taken = take(NOON)
    assert taken is not None
    assert taken.cause == Cause.TRIGGER
    running.finish(action.pk, "lease", Outcome(Result.DONE), NOON + MINUTE)
    action.refresh_from_db()
    assert action.next_call_at == NOON + HOUR
    assert [trigger.at for trigger in action.triggers.all()] == [NOON + 2 * MINUTE]
    assert running.next_at(KEYS) == NOON + 2 * MINUTE


def test_one_run_uses_up_every_trigger_that_is_due(people: Cast) -> None:
    action = only(people.workspace)
    for minutes in (0, 1, 2):
        Trigger.objects.create(action=action, at=NOON + minutes * MINUTE)
    assert all_runs(NOON + 5 * MINUTE) == ["mail_queue"]


def test_nothing_waits_of_what_is_off_or_in_hand(people: Cast) -> None:
    action = only(people.workspace)
    Trigger.objects.create(action=action, at=NOON - MINUTE)
    assert running.next_at(KEYS) == NOON - MINUTE
    take(NOON)
    Trigger.objects.create(action=action, at=NOON)
    assert running.next_at(KEYS) is None
    ScheduledAction.objects.update(lease="", is_active=False)
    assert running.next_at(KEYS) is None


@pytest.mark.parametrize("zone", ["Europe/Bucharest", ""])
def test_a_daily_action_keeps_the_hour_of_its_own_clock_or_of_the_workspaces(people: Cast, zone: str) -> None:
    people.workspace.time_zone = "Europe/Bucharest"
    people.workspace.save()
    begin = NOON.replace(month=10, day=24, hour=0, minute=20)  # 03:20, the day before the clocks go back
    action = only(
        people.workspace, interval=1, unit="days", time_zone=zone, next_call_at=begin, anchor_at=begin
    )
    run(begin)
    action.refresh_from_db()
    assert action.next_call_at == begin.replace(day=25) + (0 * HOUR)
    run(begin.replace(day=25))
    action.refresh_from_db()
    assert action.next_call_at == begin.replace(day=26) + HOUR


def test_a_zone_that_is_no_longer_known_counts_as_utc(people: Cast) -> None:
    action = only(people.workspace, interval=1, unit="days", time_zone="Mars/Olympus")
    run(NOON)
    action.refresh_from_db()
    assert action.next_call_at == NOON + DAY


def test_a_machine_whose_clock_is_ahead_waits_by_the_databases(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postroom.schedule.clock.clock", lambda: NOON)
    ahead = NOON + 2 * MINUTE
    monkeypatch.setattr("django.utils.timezone.now", lambda: ahead)
    assert by_own_clock(NOON + HOUR) == ahead + HOUR


@pytest.fixture
def ahead(people: Cast) -> ScheduledAction:
    """It ran while the clock was 300 days ahead."""
    action = only(people.workspace)
    assert run(NOON + 300 * DAY) == "mail_queue"
    return ScheduledAction.objects.get(pk=action.pk)


def test_what_ran_by_a_clock_that_was_ahead_is_brought_back_to_its_hours(ahead: ScheduledAction) -> None:
    assert ahead.next_call_at == NOON + 300 * DAY + HOUR
    assert running.put_right(NOON + MINUTE) == 1
    assert running.put_right(NOON + MINUTE) == 0
    ahead.refresh_from_db()
    assert (ahead.next_call_at, ahead.anchor_at) == (NOON + HOUR, NOON)
    assert all_runs(NOON + HOUR) == ["mail_queue"]


@pytest.mark.parametrize("anchor_at", [None, NOON + 200 * DAY])
def test_without_a_beginning_in_the_past_calls_are_counted_back(
    ahead: ScheduledAction, anchor_at: datetime | None
) -> None:
    ScheduledAction.objects.filter(pk=ahead.pk).update(anchor_at=anchor_at, interval=1, unit="days")
    running.put_right(NOON + MINUTE)
    ahead.refresh_from_db()
    assert ahead.next_call_at == NOON + HOUR
    assert run(NOON + HOUR) == "mail_queue"
    ahead.refresh_from_db()
    assert ahead.next_call_at == NOON + HOUR + DAY


def test_a_call_that_somebody_chose_is_kept_however_far_ahead(people: Cast) -> None:
    far = NOON + 300 * DAY
    only(people.workspace, next_call_at=far, anchor_at=far)
    assert running.put_right(NOON) == 0


def test_a_lease_by_a_clock_that_was_ahead_is_over_soon(people: Cast) -> None:
    only(people.workspace)
    take(NOON + 300 * DAY)
    running.put_right(NOON)
    assert not running.has_lost(NOON)
    assert running.has_lost(NOON + running.LEASE)


def test_what_was_left_over_by_a_clock_that_was_ahead_is_due_now(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(people.workspace)
    run(NOON + 300 * DAY, Result.UNFINISHED, emails=1)
    monkeypatch.setattr(running, "clock", lambda: NOON)
    assert running.next_at(KEYS) == NOON
