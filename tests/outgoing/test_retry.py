"""The arithmetic of trying again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outgoing.retry import (
    History,
    RetryPolicy,
    hold_seconds,
    next_attempt_at,
    throttled_seconds,
    verdict_on,
)
from postroom.wire.reply import Outcome

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = RetryPolicy()


@pytest.mark.parametrize(
    ("attempts_before", "seconds"), [(0, 60), (1, 300), (2, 900), (3, 1800), (4, 3600), (5, 3600), (40, 3600)]
)
def test_the_gaps_grow_and_the_last_one_repeats(attempts_before: int, seconds: int) -> None:
    assert next_attempt_at(History(attempts_before), POLICY, now=NOW) == NOW + timedelta(seconds=seconds)


histories = st.builds(
    History,
    st.integers(0, 500),
    st.integers(0, 3),
    st.timedeltas(timedelta(0), timedelta(hours=60)).map(lambda age: NOW - age),
    st.booleans(),
)


@given(outcome=st.sampled_from(Outcome), history=histories, jitter=st.floats(-1, 1))
def test_every_verdict_is_final_or_has_a_due_time_before_the_deadline(
    outcome: Outcome, history: History, jitter: float
) -> None:
    verdict = verdict_on(outcome, history, POLICY, now=NOW, jitter=jitter)
    if verdict.state == "outgoing":
        assert verdict.due_at is not None
        assert history.first_attempt_at is not None
        assert NOW <= verdict.due_at <= max(NOW, history.first_attempt_at + POLICY.deadline)
    else:
        assert verdict.due_at is None
        assert bool(verdict.failure_kind) is (verdict.state == "failed")


@given(jitter=st.floats(-1, 1))
def test_the_jitter_stays_within_a_tenth(jitter: float) -> None:
    due_at = next_attempt_at(History(1), POLICY, now=NOW, jitter=jitter)
    assert due_at is not None
    assert 270 <= (due_at - NOW).total_seconds() <= 330


def test_after_the_deadline_a_deferred_mail_is_expired() -> None:
    late = History(20, 0, NOW - timedelta(hours=48))
    assert verdict_on(Outcome.DEFERRED, late, POLICY, now=NOW).failure_kind == "expired"
    almost = History(20, 0, NOW - timedelta(hours=47, minutes=50))
    assert next_attempt_at(almost, POLICY, now=NOW) == NOW + timedelta(minutes=10)


def test_a_5yz_ends_it_at_once() -> None:
    assert verdict_on(Outcome.REFUSED, History(), POLICY, now=NOW).failure_kind == "refused"


def test_without_an_answer_urgent_mail_goes_once_more_and_bulk_never() -> None:
    first = verdict_on(Outcome.UNCERTAIN, History(), POLICY, now=NOW)
    second = verdict_on(Outcome.UNCERTAIN, History(1, 1), POLICY, now=NOW)
    bulk = verdict_on(Outcome.UNCERTAIN, History(is_urgent=False), POLICY, now=NOW)
    assert (first.state, second.failure_kind, bulk.failure_kind) == ("outgoing", "uncertain", "uncertain")
    assert first.is_uncertain


def test_a_server_is_left_alone_for_longer_and_longer_but_five_minutes_at_most() -> None:
    assert [hold_seconds(count) for count in (1, 2, 3, 5, 6, 100)] == [15, 30, 60, 240, 300, 300]


def test_a_throttled_mail_stays_due_and_its_gap_is_not_used_up() -> None:
    history = History(3, 0, NOW - timedelta(hours=1), throttled_count=1)
    verdict = verdict_on(Outcome.DEFERRED, history, POLICY, now=NOW, is_throttling=True)
    assert (verdict.state, verdict.due_at, verdict.is_throttled) == ("outgoing", NOW, True)
    after = History(4, 0, NOW - timedelta(hours=1), throttled_count=2)
    assert next_attempt_at(after, POLICY, now=NOW) == NOW + timedelta(seconds=900)


def test_a_mail_that_is_throttled_again_and_again_gets_a_gap_of_its_own() -> None:
    often = History(5, 0, NOW - timedelta(hours=1), throttled_count=5)
    verdict = verdict_on(Outcome.DEFERRED, often, POLICY, now=NOW, is_throttling=True)
    assert (verdict.due_at, verdict.is_throttled) == (NOW + timedelta(seconds=60), False)


def test_throttling_counts_against_the_deadline() -> None:
    late = History(3, 0, NOW - timedelta(hours=48))
    verdict = verdict_on(Outcome.DEFERRED, late, POLICY, now=NOW, is_throttling=True)
    assert (verdict.state, verdict.failure_kind) == ("failed", "expired")


def test_a_server_that_asks_for_less_is_left_alone_for_longer_each_time() -> None:
    assert [throttled_seconds(count) for count in (1, 2, 3, 5, 6, 100)] == [30, 60, 120, 480, 900, 900]
