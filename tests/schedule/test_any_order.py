"""Whatever happens in whatever order, what was asked for runs, and nobody runs what another has in hand."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.schedule import running
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.running import Outcome, Result
from postroom.schedule.triggers import minute_of
from tests.people import Cast
from tests.schedule.rows import HOUR, KEYS, NOON, only

FAR = NOON + timedelta(days=30)
happenings = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 70, 1000, 5000])),
    st.tuples(st.just("trigger"), st.sampled_from([0, -30, 20, 61, 4000])),
    st.tuples(st.just("take"), st.integers(0, 1)),
    st.tuples(st.just("work"), st.integers(0, 1)),
    st.tuples(st.just("done"), st.integers(0, 1)),
    st.tuples(st.just("unfinished"), st.integers(0, 1)),
    st.tuples(st.just("failed"), st.integers(0, 1)),
    st.tuples(st.just("lost"), st.just(0)),
)


class Life:
    """One action, two takers, and a clock."""

    def __init__(self, action: ScheduledAction) -> None:
        self.action = action
        self.now = NOON
        self.holder: int | None = None
        self.asked_for: list[datetime] = []  # times after which a run has to begin
        self.begun: list[datetime] = []

    def live(self, what: str, number: int) -> None:
        getattr(self, f"_{what}", self._end)(number, what)

    def _wait(self, seconds: int, _: str) -> None:
        self.now += timedelta(seconds=seconds)

    def _trigger(self, seconds: int, _: str) -> None:
        at = minute_of(self.now + timedelta(seconds=seconds), self.now)
        Trigger.objects.create(action=self.action, at=at)
        self.asked_for.append(max(self.now, at))

    def _take(self, taker: int, _: str) -> None:
        taken = running.take(f"taker {taker}", KEYS, self.now)
        if taken is None:
            return
        assert self.holder is None, "two have it in hand"
        assert taken.cause in list(running.Cause)
        self.holder = taker
        self.begun.append(self.now)

    def _work(self, taker: int, _: str) -> None:
        is_ours = running.renew(self.action.pk, f"taker {taker}", {"emails": 1}, self.now)
        assert is_ours is (self.holder == taker)

    def _end(self, taker: int, result: str) -> None:
        after = running.finish(self.action.pk, f"taker {taker}", Outcome(result), self.now)
        assert (after is not None) is (self.holder == taker)
        if after is not None:
            self.holder = None

    def _lost(self, _: int, __: str) -> None:
        if running.recover(is_alone=False, now=self.now):
            assert self.holder is not None
            self.holder = None

    def settle(self) -> None:
        """All triggers come due, and whatever is due is done."""
        self.now += 2 * HOUR
        if self.holder is not None:
            self._end(self.holder, Result.DONE)
        for _ in range(5):
            self._take(0, "take")
            self._end(0, Result.DONE)


@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(happenings, max_size=12), st.booleans())
def test_whatever_happens_what_was_asked_for_runs(
    people: Cast, story: list[tuple[str, int]], is_by_time: bool
) -> None:
    with transaction.atomic():
        life = Life(only(people.workspace, next_call_at=NOON if is_by_time else FAR))
        for what, number in story:
            life.live(what, number)
        life.settle()
        row = ScheduledAction.objects.get(pk=life.action.pk)
        transaction.set_rollback(True)
    for at in [*([NOON] if is_by_time else []), *life.asked_for]:
        assert any(begun >= at for begun in life.begun), f"nothing ran for {at}"
    if is_by_time:
        assert life.now < row.next_call_at <= life.now + HOUR
        assert (row.next_call_at - NOON) % HOUR == timedelta(0)
    else:
        assert row.next_call_at == FAR
    assert (row.lease, row.is_unfinished, row.failure_count, row.timeout_count) == ("", False, 0, 0)
