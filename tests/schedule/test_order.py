"""Workspaces take turns, whatever one of them asks for."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.schedule import order, planning, running
from postroom.schedule.clock import clock
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.running import Outcome, Result
from postroom.schedule.triggers import trigger
from postroom.workspaces.models import Workspace
from tests.people import Cast, cast
from tests.schedule.rows import HOUR, KEYS, NOON

SECOND = timedelta(seconds=1)


def turn(second: int, result: str = Result.DONE) -> tuple[str, str]:
    """Take and end what is next; the slug of its workspace, and its key."""
    now = NOON + second * SECOND
    taken = running.take("lease", KEYS, now)
    if taken is None:
        return "", ""
    running.finish(taken.action.pk, "lease", Outcome(result, {"emails": 1}), now)
    return taken.action.workspace.slug, taken.action.key


def due_at_noon(*workspaces: Workspace, key: str = "") -> None:
    rows = ScheduledAction.objects.filter(key__in=[key] if key else KEYS)
    ScheduledAction.objects.update(next_call_at=NOON + 30 * HOUR)
    rows.filter(workspace__in=workspaces).update(next_call_at=NOON, anchor_at=NOON)


@pytest.mark.parametrize("priority", [0, 6])
def test_who_presses_again_and_again_keeps_nobody_waiting(people: Cast, priority: int) -> None:
    other = cast("other").workspace
    due_at_noon(other)
    mine = ScheduledAction.objects.filter(workspace=people.workspace, key__in=KEYS)
    mine.update(priority=priority)
    ran = []
    for second in range(10):
        for action in mine:
            Trigger.objects.create(action=action, at=NOON, is_by_hand=True)
        ran.append(turn(second)[0])
    assert ran.count("other") == len(KEYS)
    assert "other" in ran[:2]


def test_work_that_never_ends_keeps_nobody_waiting(people: Cast) -> None:
    other = cast("other").workspace
    due_at_noon(people.workspace, key="auto_vacuum")
    assert turn(0, Result.UNFINISHED) == ("demo", "auto_vacuum")
    for second in range(1, 9, 2):
        ScheduledAction.objects.filter(workspace=other, key="mail_queue").update(next_call_at=NOON)
        assert turn(second)[0] == "other"
        assert turn(second + 1, Result.UNFINISHED) == ("demo", "auto_vacuum")


def test_a_turn_by_a_clock_that_was_ahead_does_not_count(people: Cast) -> None:
    other = cast("other").workspace
    due_at_noon(people.workspace, other, key="mail_queue")
    ScheduledAction.objects.filter(workspace=people.workspace).update(last_run_at=NOON + 9000 * HOUR)
    ScheduledAction.objects.filter(workspace=other).update(last_run_at=NOON - HOUR)
    assert [turn(0)[0], turn(0)[0]] == ["demo", "other"]


class Names:
    """Workspaces of a story, and how often each was passed over while it had something due."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = {}

    def took(self, slug: str, waiting: set[str]) -> None:
        for other in waiting - {slug}:
            self.passed[other] = self.passed.get(other, 0) + 1
        self.passed[slug] = 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(KEYS), st.integers(0, 9), st.booleans()), max_size=25
    )
)
def test_nobody_waits_longer_than_one_turn_of_each_other(
    people: Cast, story: list[tuple[int, str, int, bool]]
) -> None:
    with transaction.atomic():
        workspaces = [people.workspace, *Workspace.objects.bulk_create(_founded("b", "c"))]
        planning.ensure(workspaces)
        due_at_noon(*workspaces)
        names = Names()
        for second, (number, key, priority, is_unfinished) in enumerate(story):
            rows = ScheduledAction.objects.filter(workspace=workspaces[number], key=key)
            rows.update(priority=priority)
            Trigger.objects.create(action=rows.get(), at=NOON, is_by_hand=True)
            waiting = set(running.due(KEYS, NOON + second * SECOND).values_list("workspace__slug", flat=True))
            slug, _ = turn(second, Result.UNFINISHED if is_unfinished else Result.DONE)
            names.took(slug, waiting)
            assert max(names.passed.values()) < len(workspaces)
        transaction.set_rollback(True)


def _founded(*slugs: str) -> list[Workspace]:
    return [Workspace(slug=slug, name=slug) for slug in slugs]


def test_however_many_are_due_a_bounded_number_is_looked_at(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "LOOKED_AT", 5)
    workspaces = Workspace.objects.bulk_create(_founded(*(f"w{number}" for number in range(30))))
    planning.ensure(workspaces)
    due_at_noon(*workspaces)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert len(order.in_turn(KEYS, NOON)) == 5
    assert len(asked) <= 5
    ran = [turn(second)[0] for second in range(30 * len(KEYS))]
    assert {ran.count(workspace.slug) for workspace in workspaces} == {len(KEYS)}


@pytest.mark.django_db(transaction=True)
def test_what_somebody_has_locked_is_passed_over() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows: run with --postgres")
    one, two = cast("one").workspace, cast("two").workspace
    due_at_noon(two, key="mail_queue")
    trigger(one.pk, "mail_queue", by_hand=True)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                trigger(one.pk, "mail_queue")
                list(ScheduledAction.objects.select_for_update().filter(workspace=one))
                held.set()
                go.wait(10)
        finally:
            connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        now = clock()
        taken = running.take("mine", ["mail_queue"], now)
        assert taken is not None
        assert taken.action.workspace == two
        assert running.take("mine", ["mail_queue"], now) is None
    finally:
        go.set()
        holder.join(10)
