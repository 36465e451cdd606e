"""How deep the queue is said to be, against what is in it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.outgoing import depth
from postroom.outgoing.depth import Deep, Standing
from postroom.outgoing.models import Email, FailureKind, Lane, Tally
from postroom.outgoing.relays import lane_of
from postroom.outgoing.waiting import waiting
from tests.outgoing.queued import queue
from tests.people import Cast, cast

HOUR = timedelta(hours=1)


def all_deep() -> list[Deep]:
    now, lanes = waiting()
    return [*depth.depths(lanes, now), *depth.in_hand(), *depth.failures()]


def sums() -> Counter[tuple[str, str]]:
    return depth.summed(all_deep())


def test_what_is_due_and_what_is_not_yet_due_are_told_apart(people: Cast) -> None:
    queue(people.workspace, ["a@example.org", "b@example.org"])
    queue(people.workspace, ["c@example.org"], due_at=timezone.now() + HOUR)
    assert sums() == {("due", "urgent"): 2, ("later", "urgent"): 1}


def test_what_a_gate_keeps_is_neither_due_nor_held(people: Cast) -> None:
    queue(people.workspace, ["a@example.org", "b@example.org"], stream=Stream.BULK)
    Lane.objects.update(released_until=timezone.now() - HOUR)
    assert sums() == {("gated", "bulk"): 2}
    Lane.objects.update(released_until=timezone.now() + HOUR)
    assert sums() == {("due", "bulk"): 2}


def test_a_hold_says_why_and_one_that_is_over_holds_nothing(people: Cast) -> None:
    queue(people.workspace, ["a@example.org"])
    Lane.objects.update(held_until=timezone.now() + HOUR, held_because="throttled")
    [held] = all_deep()
    assert (held.standing, held.because, held.number) == (Standing.HELD, "throttled", 1)
    Lane.objects.update(held_until=timezone.now() - HOUR)
    assert sums() == {("due", "urgent"): 1}


def test_a_paused_lane_is_paused_whatever_else_holds_it(people: Cast) -> None:
    queue(people.workspace, ["a@example.org"])
    Lane.objects.update(is_paused=True, held_until=timezone.now() + HOUR, held_because="throttled")
    assert sums() == {("paused", "urgent"): 1}


def test_what_is_in_hand_and_what_failed_are_counted_too(people: Cast) -> None:
    neighbour = cast("neighbour")
    queue(people.workspace, ["a@example.org"], lease="mine", leased_until=timezone.now() + HOUR)
    queue(neighbour.workspace, ["b@example.org"], state="failed", failure_kind=FailureKind.REFUSED)
    queue(
        people.workspace,
        ["c@example.org", "d@example.org"],
        state="failed",
        failure_kind=FailureKind.EXPIRED,
        stream=Stream.BULK,
    )
    Email.objects.filter(address__addr_spec="d@example.org").update(ignored_at=timezone.now())
    assert sums() == {("sending", "urgent"): 1, ("failed", "urgent"): 1, ("failed", "bulk"): 1}
    failed = {(deep.workspace_id, deep.because) for deep in depth.failures()}
    assert failed == {(neighbour.workspace.pk, "refused"), (people.workspace.pk, "expired")}


def test_counting_stops_where_it_would_cost_too_much(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "COUNTED_TO", 3)
    monkeypatch.setattr(depth, "LEAST_COUNTED", 2)
    queue(people.workspace, [f"u{number}@example.org" for number in range(5)])
    assert sums() == {("due", "urgent"): 2}


def test_the_price_does_not_grow_with_the_lanes(people: Cast) -> None:
    queue(people.workspace, ["a@example.org"])
    with CaptureQueriesContext(connection) as first:
        all_deep()
    for number in range(4):
        queue(cast(f"neighbour-{number}").workspace, [f"b{number}@example.org"])
    with CaptureQueriesContext(connection) as second:
        all_deep()
    assert len(second) == len(first) <= 7


def test_the_oldest_due_is_timed_from_when_it_could_leave(people: Cast) -> None:
    now = timezone.now()
    queue(people.workspace, ["a@example.org"], due_at=now - timedelta(minutes=7))
    queue(people.workspace, ["b@example.org"], stream=Stream.BULK, due_at=now - 5 * HOUR)
    Lane.objects.filter(stream=Stream.BULK).update(released_until=now - HOUR)
    oldest = depth.oldest_due_seconds(waiting()[1], now)
    assert oldest["urgent"] == pytest.approx(420, abs=5)
    assert oldest["bulk"] == pytest.approx(3600, abs=5)
    Lane.objects.update(held_until=now + HOUR)
    assert depth.oldest_due_seconds(waiting()[1], now) == {"urgent": 0, "bulk": 0}


def test_what_is_left_of_a_mailing_is_read_from_its_tally(people: Cast) -> None:
    emails = queue(people.workspace, ["a@example.org", "b@example.org"], stream=Stream.BULK)
    lane = lane_of(people.workspace, Stream.BULK)
    lane.pk, lane.message = None, emails[0].message
    lane.save(force_insert=True)
    assert depth.mailings_left() == {lane.pk: (emails[0].message_id, 2)}
    Tally.objects.update(outgoing_count=0, sent_count=2)
    assert depth.mailings_left() == {}
