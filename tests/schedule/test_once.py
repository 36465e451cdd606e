"""Several takers at once, each in a thread with a connection of its own, as on several machines."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta

import pytest
from django.db import connections

from postroom.schedule import running
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.running import Outcome, Result
from postroom.schedule.triggers import trigger
from tests.people import cast
from tests.schedule.rows import KEYS, NOON

TAKERS = 3


class Takers:
    """Take until nothing is due, all at the same time; `ran` counts what was taken."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.ran: Counter[int] = Counter()
        self._start = threading.Barrier(TAKERS)
        self._lock = threading.Lock()

    def go(self) -> Counter[int]:
        threads = [threading.Thread(target=self._take_all, args=(f"taker {n}",)) for n in range(TAKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return self.ran

    def _take_all(self, lease: str) -> None:
        try:
            self._start.wait(30)
            while (taken := running.take(lease, KEYS, self.now)) is not None:
                with self._lock:
                    self.ran[taken.action.pk] += 1
                running.finish(taken.action.pk, lease, Outcome(Result.DONE), self.now)
        finally:
            connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_three_takers_at_once_run_each_due_time_once() -> None:
    for name in ("one", "two", "three"):
        cast(name)
    rows = ScheduledAction.objects.filter(key__in=KEYS)
    rows.update(next_call_at=NOON, anchor_at=NOON)
    for hours in range(4):
        ran = Takers(NOON + timedelta(days=hours)).go()
        assert ran == Counter(rows.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_three_takers_at_once_run_a_trigger_once() -> None:
    workspace = cast().workspace
    far = NOON + timedelta(days=3000)
    ScheduledAction.objects.update(next_call_at=far)
    (action,) = ScheduledAction.objects.filter(workspace=workspace, key="mail_queue")
    for _ in range(10):
        trigger(workspace.pk, "mail_queue")
        assert Takers(far - timedelta(days=1)).go() == {action.pk: 1}
    assert not Trigger.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_trigger_that_is_set_while_a_run_is_at_work_is_followed_by_another() -> None:
    workspace = cast().workspace
    far = NOON + timedelta(days=3000)
    ScheduledAction.objects.update(next_call_at=far)
    trigger(workspace.pk, "mail_queue")
    taken = running.take("one", KEYS)
    assert taken is not None
    trigger(workspace.pk, "mail_queue")  # while a worker has the row in hand
    assert running.take("two", KEYS) is None
    running.finish(taken.action.pk, "one", Outcome(Result.DONE))
    assert running.take("two", KEYS) is not None
