"""Scheduled actions run one after another, each within its budget, and fail without harm to the others."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, connections
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from postroom import engine
from postroom.conversations.models import Notification, ScheduledMessage
from postroom.diagnostics.models import Event
from postroom.engine.embedded import Engine
from postroom.flows import acting, action_settings, scheduling
from postroom.flows.drafts import Draft
from postroom.schedule import running
from postroom.schedule.clock import clock
from postroom.schedule.models import ScheduledAction
from postroom.schedule.running import Result
from postroom.schedule.triggers import trigger
from postroom.schedule.work import Run, Work
from postroom.web.notice_words import page_of, words_of
from postroom.workspaces.models import Workspace
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)
FAR = timedelta(days=3000)
Steps = Iterator[Mapping[str, int]]


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see; no action is due."""
    people = cast()
    far = timezone.now() + FAR
    ScheduledAction.objects.update(next_call_at=far, anchor_at=far)
    return people


@pytest.fixture
def do(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let each named action do this work, and no other action anything."""

    def put(**works: Work) -> None:
        monkeypatch.setattr(acting, "WORK", works)

    return put


def row_of(people: Cast, key: str = "mail_queue") -> ScheduledAction:
    return ScheduledAction.objects.select_related("workspace").get(workspace=people.workspace, key=key)


def make_due(people: Cast, *keys: str) -> None:
    rows = ScheduledAction.objects.filter(workspace=people.workspace, key__in=keys)
    rows.update(next_call_at=timezone.now() - timedelta(seconds=1), anchor_at=None)


def nothing(run: Run) -> Steps:
    yield from ()


def test_a_run_adds_up_what_its_steps_did(people: Cast, do: Callable[..., None]) -> None:
    def work(run: Run) -> Steps:
        assert (run.action.key, run.workspace, run.now) == (
            "mail_queue",
            people.workspace,
            run.action.began_at,
        )
        yield {"removed": 200}
        yield {"removed": 13, "kept": 1}

    do(mail_queue=work)
    make_due(people, "mail_queue")
    assert acting.run_due() == 1
    row = row_of(people)
    assert (row.last_result, row.last_counts) == (Result.DONE, {"removed": 213, "kept": 1})
    assert row.last_seconds is not None
    assert acting.run_due() == 0


def test_a_run_whose_budget_is_over_goes_on_behind_the_others(
    people: Cast, do: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def long(run: Run) -> Steps:
        order.append("long")
        if len(order) == 1:
            yield {"removed": 1}
            pytest.fail("It went on after its budget was over.")

    def short(run: Run) -> Steps:
        order.append("short")
        yield from ()

    monkeypatch.setattr(acting, "BUDGET_SECONDS", 0.0)
    do(auto_vacuum=long, mail_queue=short)
    make_due(people, "auto_vacuum", "mail_queue")
    assert acting.run_due() == 3
    assert order == ["long", "short", "long"]
    assert row_of(people, "auto_vacuum").last_result == Result.DONE


def test_an_action_that_raises_keeps_what_it_did_and_harms_no_other(
    people: Cast, do: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: Run) -> Steps:
        Workspace.objects.filter(pk=run.workspace.pk).update(name="Half done")
        yield {"removed": 4}
        raise ValueError("cannot reach\nsmtp://user:hunter2@mail.example with password=hunter2")

    do(auto_vacuum=broken, mail_queue=nothing)
    make_due(people, "auto_vacuum", "mail_queue")
    assert acting.run_due() == 2
    row = row_of(people, "auto_vacuum")
    assert (row.last_result, row.last_counts, row.failure_count) == (Result.FAILED, {"removed": 4}, 1)
    assert row.last_error == "ValueError: cannot reach smtp://…@mail.example with …"
    assert row.next_call_at > timezone.now()
    assert Workspace.objects.get(pk=people.workspace.pk).name == "Half done"
    assert row_of(people).last_result == Result.DONE


def test_a_run_has_its_lines_in_the_log(
    people: Cast, do: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def work(run: Run) -> Steps:
        yield {"emails": 3}

    caplog.set_level("INFO", "postroom.actions")
    do(mail_queue=work)
    make_due(people, "mail_queue")
    acting.run_due()
    begun, ended = [record.getMessage() for record in caplog.records if record.name == "postroom.actions"]
    assert begun == "Action mail_queue of demo begins (time)"
    assert ended.startswith("Action mail_queue of demo done in ")
    assert ended.endswith("s: emails 3")


def test_a_stopping_engine_ends_a_run_at_its_next_safe_point(
    people: Cast, do: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_stopping = False

    def work(run: Run) -> Steps:
        nonlocal is_stopping
        is_stopping = True
        yield {"removed": 1}
        pytest.fail("It went on.")

    monkeypatch.setattr(engine, "is_stopping", lambda: is_stopping)
    do(mail_queue=work, dns_check=nothing)
    make_due(people, "mail_queue", "dns_check")
    ScheduledAction.objects.filter(key="mail_queue").update(priority=1)
    assert acting.run_due() == 1
    assert row_of(people).is_unfinished
    assert row_of(people, "dns_check").last_run_at is None


def test_the_first_progress_is_written_down_at_once(people: Cast, do: Callable[..., None]) -> None:
    seen: list[dict[str, int]] = []

    def work(run: Run) -> Steps:
        for count in (0, 7, 1):
            yield {"removed": count}
            seen.append(row_of(people).last_counts)

    do(mail_queue=work)
    make_due(people, "mail_queue")
    acting.run_due()
    assert seen == [{}, {"removed": 7}, {"removed": 7}]


def test_a_run_that_was_taken_for_lost_ends_and_changes_nothing(
    people: Cast, do: Callable[..., None]
) -> None:
    def work(run: Run) -> Steps:
        running.recover(is_alone=True)
        running.take("another", ["mail_queue"])
        yield {"removed": 1}
        pytest.fail("It went on although another has it in hand.")

    do(mail_queue=work)
    make_due(people, "mail_queue")
    acting.run_due()
    row = row_of(people)
    assert (row.lease, row.last_result) == ("another", Result.LOST)


def test_the_lease_is_renewed_while_a_step_takes_long(
    people: Cast, do: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    leases: list[datetime | None] = []

    def slow(run: Run) -> Steps:
        until = clock() + timedelta(seconds=5)
        leases.append(row_of(people).leased_until)
        while (now := row_of(people).leased_until) == leases[0] and clock() < until:
            continue
        leases.append(now)
        yield from ()

    monkeypatch.setattr(acting, "BEAT_SECONDS", 0.05)
    do(mail_queue=slow)
    make_due(people, "mail_queue")
    assert asyncio.run(acting.drain("actions:")) is not None
    before, after = leases
    assert before is not None
    assert after is not None
    assert after > before
    assert row_of(people).last_result == Result.DONE


def test_what_failed_for_a_week_is_switched_off_and_told(people: Cast, do: Callable[..., None]) -> None:
    def broken(run: Run) -> Steps:
        raise ValueError("no")
        yield {}

    neighbour = cast("neighbour")
    do(mail_queue=broken)
    make_due(people, "mail_queue")
    week_ago = timezone.now() - timedelta(days=8)
    ScheduledAction.objects.filter(pk=row_of(people).pk).update(failure_count=4, failing_since=week_ago)
    acting.run_due()
    row = row_of(people)
    assert not row.is_active
    assert row.deactivated_at is not None
    told = Notification.objects.filter(reason=acting.GIVEN_UP_NOTICE)
    assert [notice.member for notice in told] == [people.olga]  # she operates the installation, too
    assert neighbour.olga not in [notice.member for notice in told]
    assert words_of(acting.GIVEN_UP_NOTICE) == "A scheduled action failed for a week and was switched off."
    assert page_of(acting.GIVEN_UP_NOTICE)
    event = Event.objects.get(kind="action.given_up")
    assert event.detail == {"key": "mail_queue", "error": "ValueError: no"}


def test_operators_are_told_of_a_neighbours_action(people: Cast, do: Callable[..., None]) -> None:
    def broken(run: Run) -> Steps:
        raise ValueError("no")
        yield {}

    neighbour = cast("neighbour")
    do(mail_queue=broken)
    rows = ScheduledAction.objects.filter(key="mail_queue", workspace=neighbour.workspace)
    now = timezone.now()
    rows.update(next_call_at=now, failure_count=4, failing_since=now - timedelta(days=8))
    ScheduledAction.objects.exclude(pk__in=rows).update(next_call_at=now + FAR)
    acting.run_due()
    told = Notification.objects.filter(reason=acting.GIVEN_UP_NOTICE).order_by("pk")
    assert {notice.member for notice in told} == {people.olga, neighbour.olga}


def test_three_runs_that_never_come_back_can_switch_it_off_too(people: Cast) -> None:
    make_due(people, "mail_queue")
    week_ago = timezone.now() - timedelta(days=8)
    rows = ScheduledAction.objects.filter(pk=row_of(people).pk)
    rows.update(failure_count=4, failing_since=week_ago, timeout_count=2)
    assert running.take("gone", ["mail_queue"]) is not None
    rows.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert acting.due() == ["actions:"]
    assert acting.recover(is_start=False) == 1
    assert not row_of(people).is_active
    assert Notification.objects.filter(reason=acting.GIVEN_UP_NOTICE).count() == 1


def test_an_engine_that_starts_takes_what_a_dead_one_had_in_hand(people: Cast) -> None:
    make_due(people, "mail_queue")
    assert running.take("gone", ["mail_queue"]) is not None
    assert acting.recover(is_start=False) == 0
    assert acting.recover() == (1 if connection.vendor == "sqlite" else 0)


def test_a_start_gives_every_workspace_its_actions(people: Cast) -> None:
    ScheduledAction.objects.filter(key="dns_check").delete()
    acting.get_ready()
    assert ScheduledAction.objects.filter(key="dns_check").count() == 1


def test_the_engine_runs_an_action_at_its_time_and_on_a_trigger(
    people: Cast, do: Callable[..., None], data_folder: Path
) -> None:
    ran: list[datetime] = []

    def work(run: Run) -> Steps:
        ran.append(timezone.now())
        yield {"runs": 1}

    async def ran_times(count: int) -> None:
        for _ in range(200):
            if len(ran) >= count:
                return
            await asyncio.sleep(0.02)
        pytest.fail("It did not run.")

    async def story() -> None:
        running_engine = Engine(data_folder, acting.KINDS, tick_seconds=30)
        await running_engine.start()
        try:
            await ran_times(1)
            await asyncio.to_thread(alone, trigger, people.workspace.pk, "mail_queue")
            await ran_times(2)
        finally:
            await running_engine.stop()

    do(mail_queue=work)
    at = timezone.now() + timedelta(seconds=0.7)
    ScheduledAction.objects.filter(pk=row_of(people).pk).update(next_call_at=at, anchor_at=at)
    asyncio.run(story())
    assert at <= ran[0] < at + timedelta(seconds=2)
    assert len(ran) == 2


def alone(call: Callable[..., None], *arguments: object) -> None:
    """In a thread, whose connection is closed again."""
    try:
        call(*arguments)
    finally:
        connections.close_all()


# By hand.


def test_run_manually_runs_it_once_even_if_it_is_off(people: Cast, do: Callable[..., None]) -> None:
    do(mail_queue=nothing)
    action_settings.switch(row_of(people), people.olga, False)
    assert acting.run_now(row_of(people), people.olga) == ()
    assert acting.run_due() == 1
    assert row_of(people).last_result == Result.DONE
    assert Event.objects.get(kind="action.run").detail == {"key": "mail_queue"}


def test_run_manually_warns_where_it_does_not_help(people: Cast) -> None:
    (warning,) = acting.run_now(row_of(people, "mailing_queue"), people.olga)
    assert "does not make it faster and may cause errors" in warning


def test_run_manually_is_refused_while_it_runs_or_waits(people: Cast) -> None:
    acting.run_now(row_of(people), people.olga)
    with pytest.raises(RequestRefused, match="waits for its turn already"):
        acting.run_now(row_of(people), people.olga)
    assert running.take("lease", ["mail_queue"]) is not None
    with pytest.raises(acting.ActionRuns, match=r"running since \d\d:\d\d:\d\d \(UTC\)"):
        acting.run_now(row_of(people), people.olga)


def test_only_administrators_of_the_workspace_run_what_this_version_can_do(people: Cast) -> None:
    neighbour = cast("neighbour")
    with pytest.raises(RequestRefused, match="Only an administrator"):
        acting.run_now(row_of(people), people.ana)
    with pytest.raises(AcrossTheWall):
        acting.run_now(row_of(people), neighbour.olga)
    with pytest.raises(RequestRefused, match="fetches from no mailboxes"):
        acting.run_now(row_of(people, "fetchmail"), people.olga)
    assert acting.run_due() == 0


@given(st.text(), st.from_regex(r"[^\s/@]{1,30}", fullmatch=True))
def test_an_error_is_one_short_line_that_opens_no_door(words: str, secret: str) -> None:
    shown = acting.one_line(ValueError(f"x//{secret}@host {words}"))
    assert len(shown) <= acting.LONGEST_ERROR
    assert len(shown.splitlines()) <= 1
    assert shown.startswith("ValueError: x//…@host")


def test_what_missed_its_time_is_posted_by_the_action_of_its_workspace(people: Cast) -> None:
    neighbour = cast("neighbour")
    rows = [due_message(one) for one in (people, neighbour)]
    ScheduledAction.objects.update(next_call_at=timezone.now() + FAR)
    trigger(people.workspace.pk, "scheduled_messages")
    assert acting.run_due() == 1
    assert row_of(people, "scheduled_messages").last_counts == {"messages that were due": 1}
    assert [ScheduledMessage.objects.get(pk=row.pk).state for row in rows] == ["posted", "waiting"]


def due_message(people: Cast) -> ScheduledMessage:
    draft = Draft(
        workspace=people.workspace,
        record=people.record,
        member=people.ana,
        author=people.ana_contact,
        text="Monday is fine.",
    )
    row = scheduling.schedule(draft, timezone.now() + timedelta(hours=1))
    ScheduledMessage.objects.filter(pk=row.pk).update(post_at=timezone.now() - timedelta(seconds=1))
    return row


def test_a_run_that_hangs_is_left_alone_and_the_others_go_on(
    people: Cast, do: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_back, went_on = threading.Event(), list[bool]()

    def hangs(run: Run) -> Steps:
        comes_back.wait(20)
        yield {"removed": 1}
        went_on.append(True)

    async def story() -> None:
        try:
            assert await acting.drain("actions:") is not None
            await acting.drain("actions:")
        finally:
            comes_back.set()

    monkeypatch.setattr(acting, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(acting, "LONGEST_SECONDS", 0.1)
    do(scheduled_messages=hangs, mail_queue=nothing)
    make_due(people, "scheduled_messages", "mail_queue")
    asyncio.run(story())
    assert row_of(people).last_result == Result.DONE
    assert row_of(people, "scheduled_messages").is_unfinished  # it came back before its lease was over
    assert went_on == []


@pytest.mark.parametrize(("has_come_somewhere", "lost_count"), [(True, 0), (False, 1)])
def test_a_worker_that_is_killed_in_a_run_keeps_it_from_nobody(
    people: Cast, do: Callable[..., None], has_come_somewhere: bool, lost_count: int
) -> None:
    def dies(run: Run) -> Steps:
        yield {"removed": 3 * has_come_somewhere}
        os.kill(os.getpid(), signal.SIGKILL)

    do(mail_queue=dies)
    make_due(people, "mail_queue")
    connections.close_all()
    child = os.fork()
    if child == 0:
        acting.run_due()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert row_of(people).is_running
    do(mail_queue=nothing)
    assert acting.run_due() == 0  # the lease still holds
    ScheduledAction.objects.update(leased_until=timezone.now())
    assert acting.recover(is_start=False) == 1
    assert (row_of(people).last_result, row_of(people).timeout_count) == (Result.LOST, lost_count)
    assert acting.run_due() == 1
    assert row_of(people).last_result == Result.DONE


def test_what_a_lost_worker_had_in_hand_does_not_wait_until_everything_else_is_done(
    people: Cast, do: Callable[..., None]
) -> None:
    order: list[str] = []

    def first(run: Run) -> Steps:
        order.append("first")
        ScheduledAction.objects.exclude(lease="").filter(key="dns_check").update(leased_until=timezone.now())
        yield from ()

    def lost(run: Run) -> Steps:
        order.append("lost")
        yield from ()

    do(auto_vacuum=first, dns_check=lost)
    make_due(people, "dns_check")
    assert running.take("gone", ["dns_check"]) is not None
    make_due(people, "auto_vacuum")
    assert acting.run_due() == 2
    assert order == ["first", "lost"]
