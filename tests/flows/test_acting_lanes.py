"""The lanes on which scheduled actions run: beside each other, and by a clock that may be wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from postroom.engine.embedded import Engine
from postroom.flows import acting, action_settings
from postroom.schedule import running
from postroom.schedule.models import ScheduledAction
from postroom.schedule.work import Run
from tests.flows import test_acting
from tests.flows.test_acting import Steps, make_due, nothing, row_of
from tests.people import Cast

pytestmark = pytest.mark.django_db(transaction=True)
people, do = test_acting.people, test_acting.do


def test_what_is_slow_keeps_nothing_else_waiting(
    people: Cast, do: Callable[..., None], data_folder: Path
) -> None:
    answered, released = threading.Event(), list[bool]()

    def silent(run: Run) -> Steps:
        released.append(answered.wait(10))
        yield {"domains": 1}

    def release(run: Run) -> Steps:
        answered.set()
        yield {"emails": 1}

    async def story() -> None:
        running_engine = Engine(data_folder, acting.KINDS, tick_seconds=30)
        await running_engine.start()
        try:
            for _ in range(500):
                if released:
                    return
                await asyncio.sleep(0.02)
        finally:
            await running_engine.stop()

    do(dns_check=silent, mail_queue=release)
    make_due(people, "dns_check")
    at = timezone.now() + timedelta(seconds=0.5)
    ScheduledAction.objects.filter(pk=row_of(people).pk).update(next_call_at=at, anchor_at=at)
    asyncio.run(story())
    assert released == [True]


def test_every_action_runs_on_one_of_the_lanes() -> None:
    keys = [key for kind in acting.KINDS for key in acting.keys_of(kind.prefix)]
    assert sorted(keys) == sorted(acting.WORK)
    assert acting.keys_of("slow-actions:") == ["auto_vacuum", "dns_check"]


def test_what_somebody_else_has_locked_is_asked_for_again_after_a_pause(
    people: Cast, do: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    do(mail_queue=nothing)
    make_due(people, "mail_queue")
    monkeypatch.setattr(running, "take", lambda *arguments: None)
    back_at = asyncio.run(acting.drain("actions:"))
    assert back_at is not None
    assert back_at > timezone.now() + acting.LEAST_PAUSE * 0.8


def test_a_start_and_every_tick_bring_forward_what_a_wrong_clock_put_off(
    people: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ScheduledAction.objects.filter(pk=row_of(people).pk)
    for put_right in (acting.get_ready, acting.due):
        rows.update(next_call_at=timezone.now() + timedelta(days=300), anchor_at=timezone.now())
        put_right()
        assert row_of(people).next_call_at <= timezone.now() + timedelta(hours=1)
    assert caplog.text.count("the next calls of 1 scheduled actions are brought forward") == 2


def test_a_run_by_hand_of_what_is_off_can_be_stopped(
    people: Cast, do: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def endless(run: Run) -> Steps:
        while True:
            steps.append(1)
            if len(steps) == 3:
                action_settings.switch(row_of(people), people.olga, False)
            yield {"removed": 1}

    monkeypatch.setattr(acting, "TELL_SECONDS", 0.0)
    do(mail_queue=endless)
    action_settings.switch(row_of(people), people.olga, False)
    acting.run_now(row_of(people), people.olga)
    assert acting.run_due() == 1
    assert len(steps) == 3
    assert not row_of(people).is_unfinished
