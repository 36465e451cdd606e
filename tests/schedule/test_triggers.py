"""What lets an action run before its next call."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from postroom.engine import waking
from postroom.schedule import triggers
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.triggers import minute_of, trigger
from tests.people import Cast, cast
from tests.schedule.rows import HOUR, MINUTE, NOON, all_runs, only

seconds = st.integers(-10_000_000, 10_000_000).map(lambda tenths: NOON + timedelta(seconds=tenths / 10))


class Ear:
    """An engine that only hears."""

    is_stopping = False

    def __init__(self) -> None:
        self.heard: list[str] = []

    def wake(self, name: str) -> None:
        self.heard.append(name)

    async def next_wake(self, name: str, seconds: float) -> bool:
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    times = [NOON + timedelta(seconds=20)]
    monkeypatch.setattr(triggers, "clock", lambda: times[0])
    return times


def test_many_triggers_of_one_minute_are_one_run(people: Cast, clock: list[datetime]) -> None:
    action = only(people.workspace, next_call_at=NOON + HOUR)
    for second in range(0, 60, 7):
        clock[0] = NOON + timedelta(seconds=second)
        trigger(people.workspace.pk, "mail_queue")
    trigger(people.workspace.pk, "mail_queue", by_hand=True)
    assert {row.at for row in action.triggers.all()} == {NOON}
    assert all_runs(NOON + MINUTE) == ["mail_queue"]
    assert not action.triggers.exists()


@pytest.mark.django_db(transaction=True)
def test_two_transactions_that_trigger_in_opposite_order_wait_for_nobody() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: run with --postgres")
    one, two = cast("one").workspace.pk, cast("two").workspace.pk
    for pk in (one, two):
        trigger(pk, "mail_queue")
    both, errors = threading.Barrier(2, timeout=10), list[Exception]()

    def ask(first: int, second: int) -> None:
        try:
            with transaction.atomic():
                trigger(first, "mail_queue")
                both.wait()
                trigger(second, "mail_queue")
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=pair) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == []
    assert Trigger.objects.count() == 6


def test_a_trigger_for_later_waits_for_the_full_minute_that_has_seen_it(
    people: Cast, clock: list[datetime]
) -> None:
    action = only(people.workspace)
    trigger(people.workspace.pk, "mail_queue", NOON + HOUR + timedelta(seconds=1))
    trigger(people.workspace.pk, "mail_queue", NOON + HOUR)
    trigger(people.workspace.pk, "mail_queue", NOON - HOUR)
    assert sorted(row.at for row in action.triggers.all()) == [NOON, NOON + HOUR, NOON + HOUR + MINUTE]


@given(seconds, seconds)
def test_a_trigger_never_runs_before_what_it_is_for_is_due(at: datetime, now: datetime) -> None:
    minute = minute_of(at, now)
    assert (minute.second, minute.microsecond) == (0, 0)
    if at > now:
        assert at <= minute < at + MINUTE
    else:
        assert now - MINUTE < minute <= now


def test_an_action_that_is_off_keeps_only_triggers_for_later_and_by_hand(
    people: Cast, clock: list[datetime]
) -> None:
    action = only(people.workspace, is_active=False)
    trigger(people.workspace.pk, "mail_queue")
    assert not action.triggers.exists()
    trigger(people.workspace.pk, "mail_queue", NOON + HOUR)
    trigger(people.workspace.pk, "mail_queue", by_hand=True)
    assert sorted(action.triggers.values_list("at", "is_by_hand")) == [(NOON, True), (NOON + HOUR, False)]


def test_what_waited_a_week_for_an_action_that_is_off_is_dropped(people: Cast) -> None:
    off = only(people.workspace, "dns_check", is_active=False)
    on = only(people.workspace)
    for action in (off, on):
        Trigger.objects.create(action=action, at=NOON)
    week = timedelta(days=7)
    assert triggers.drop_stale(NOON + week) == 0
    assert triggers.drop_stale(NOON + week + MINUTE) == 1
    assert on.triggers.exists()


def test_only_the_workspace_that_is_named_is_triggered(people: Cast) -> None:
    neighbour = cast("neighbour")
    trigger(people.workspace.pk, "mail_queue")
    assert not Trigger.objects.filter(action__workspace=neighbour.workspace).exists()
    assert Trigger.objects.filter(action__workspace=people.workspace).count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_lane_is_woken_once_the_trigger_is_there_for_all_to_see() -> None:
    workspace = cast().workspace
    ear = Ear()
    waking.become_running(ear)
    try:
        with transaction.atomic():
            trigger(workspace.pk, "mail_queue")
            trigger(workspace.pk, "dns_check")
            assert ear.heard == []
        assert ear.heard == ["actions:", "slow-actions:"]
    finally:
        waking.become_running(None)


def test_every_workspace_has_all_actions_at_times_of_their_own(people: Cast) -> None:
    neighbour = cast("neighbour").workspace
    keys = set(ScheduledAction.objects.filter(workspace=people.workspace).values_list("key", flat=True))
    assert len(keys) == 8
    mine, theirs = (
        dict(ScheduledAction.objects.filter(workspace=one).values_list("key", "next_call_at"))
        for one in (people.workspace, neighbour)
    )
    assert mine.keys() == theirs.keys()
    assert sum(mine[key] == theirs[key] for key in mine) <= 1  # by chance
    assert all(at > timezone.now() - MINUTE for at in mine.values())
