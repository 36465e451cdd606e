"""Who is taken in hand, in which order, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.conversations.models.records import Stream
from postroom.outgoing import claiming, holds
from postroom.outgoing.claiming import Waiting, claim, share_out
from postroom.outgoing.models import Email, Lane
from postroom.outgoing.relays import shared_server
from tests.outgoing.queued import queue
from tests.people import Cast, cast

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def claimed(lease: str = "mine", **options: Any) -> list[str]:
    """The addresses of one claim, in their order."""
    return [email.addr_spec for email in claim(shared_server().pk, lease, **options).emails]


def test_a_claim_leases_what_is_due_and_nothing_twice(people: Cast) -> None:
    queue(people.workspace, ["a@example.org", "b@example.org"])
    queue(people.workspace, ["later@example.org"], due_at=timezone.now() + timedelta(hours=1))
    assert claimed("one") == ["a@example.org", "b@example.org"]
    assert claimed("two") == []
    leased = Email.objects.get(address__addr_spec="a@example.org")
    assert leased.lease == "one"
    assert leased.leased_until is not None
    assert leased.leased_until > timezone.now() + timedelta(minutes=10)


def test_the_claim_says_when_the_next_one_is_due(people: Cast) -> None:
    due_at = timezone.now() + timedelta(hours=1)
    queue(people.workspace, ["later@example.org"], due_at=due_at)
    assert claim(shared_server().pk, "x").next_at == due_at
    Lane.objects.update(held_until=due_at + timedelta(hours=1))
    assert claim(shared_server().pk, "x").next_at == due_at + timedelta(hours=1)
    Lane.objects.update(is_paused=True)
    assert claim(shared_server().pk, "x").next_at is None


@pytest.mark.parametrize("kept", [{"is_paused": True}, {"held_until": timezone.now() + timedelta(hours=1)}])
def test_a_lane_that_is_paused_or_held_gives_nothing(people: Cast, kept: dict[str, Any]) -> None:
    queue(people.workspace, ["a@example.org"])
    Lane.objects.update(**kept)
    assert claimed() == []
    assert claiming.due_server_ids() == []
    assert Email.objects.listed().count() == 1


def test_a_hold_that_is_over_does_not_count(people: Cast) -> None:
    queue(people.workspace, ["a@example.org"])
    Lane.objects.update(held_until=timezone.now() - timedelta(seconds=1), held_because="server_unreachable")
    assert claiming.due_server_ids() == [shared_server().pk]
    assert claimed() == ["a@example.org"]


def test_urgent_mail_goes_first_and_bulk_keeps_a_share(people: Cast) -> None:
    queue(people.workspace, [f"bulk{n}@example.org" for n in range(30)], stream=Stream.BULK, due_at=LONG_AGO)
    queue(people.workspace, [f"urgent{n}@example.org" for n in range(30)])
    got = claimed(limit=20)
    assert [addr_spec[:4] for addr_spec in got] == ["urge"] * 16 + ["bulk"] * 4


def test_workspaces_take_turns_however_much_one_of_them_has(people: Cast) -> None:
    neighbour = cast("neighbour")
    queue(people.workspace, [f"big{n}@example.org" for n in range(100)], due_at=LONG_AGO)
    queue(neighbour.workspace, ["small1@example.org", "small2@example.org"])
    got = claimed(limit=10)
    assert {"small1@example.org", "small2@example.org"} <= set(got[:4])


def test_with_more_lanes_than_places_the_turn_goes_on(people: Cast) -> None:
    lanes = [Waiting(n, n, 1, "urgent", None, False, LONG_AGO) for n in range(1, 8)]
    first = share_out(lanes, 3)
    second = share_out(lanes, 3, first[-1][0])
    third = share_out(lanes, 3, second[-1][0])
    assert [lane_id for lane_id, _ in first + second + third] == [1, 2, 3, 4, 5, 6, 7, 1, 2]


@given(
    urgent=st.integers(0, 300), bulk=st.integers(0, 300), limit=st.integers(1, 200), after=st.integers(0, 700)
)
def test_shares_never_exceed_the_claim_and_leave_nobody_out_for_good(
    urgent: int, bulk: int, limit: int, after: int
) -> None:
    lanes = [Waiting(n, n, 1, "urgent", None, False, LONG_AGO) for n in range(urgent)]
    lanes += [Waiting(300 + n, n, 1, "bulk", None, False, LONG_AGO) for n in range(bulk)]
    shares = share_out(lanes, limit, after)
    assert sum(places for _, places in shares) == (limit if urgent + bulk else 0)
    assert all(places > 0 for _, places in shares)


def test_a_large_text_shortens_the_claim_and_the_rest_stays_due(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        queue(people.workspace, [f"p{n}@example.org"], octets=b"x" * 1000)
    monkeypatch.setattr(claiming, "CLAIM_OCTETS", 1500)
    assert len(claimed()) == 1
    assert Email.objects.filter(lease="").count() == 2


def test_holding_a_server_is_one_update_and_spares_other_holds(people: Cast) -> None:
    queue(people.workspace, ["a@example.org"])
    queue(people.workspace, ["b@example.org"], stream=Stream.BULK)
    until = timezone.now() + timedelta(hours=1)
    Lane.objects.filter(stream="bulk").update(held_until=until, held_because="daily_limit")
    holds.hold_server(shared_server().pk, until, holds.SERVER_UNREACHABLE, "It is down")
    holds.reopen(shared_server().pk)
    held = dict(Lane.objects.values_list("stream", "held_because"))
    assert held == {"urgent": "", "bulk": "daily_limit"}


def test_the_cost_of_a_claim_does_not_grow_with_the_queue(people: Cast) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("counts steps of SQLite's virtual machine")
    steps: list[int] = []
    for size in (300, 3000):
        emails = queue(people.workspace, [f"p{n}@example.org" for n in range(size)])
        counted = [0]

        def count(counted: list[int] = counted) -> int:
            counted[0] += 1
            return 0

        connection.connection.set_progress_handler(count, 100)
        assert len(claimed(f"of {size}", limit=50)) == 50
        connection.connection.set_progress_handler(None, 0)
        steps.append(counted[0])
        Email.objects.filter(message=emails[0].message).update(state="sent", lease="")
    assert steps[1] < steps[0] * 1.5


@given(st.integers(0, 8_500_000_000_000_000).map(lambda n: EPOCH + timedelta(microseconds=n)))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_times_of_a_claim_are_exact(people: Cast, due_at: datetime) -> None:
    Email.objects.all().delete()
    queue(people.workspace, ["exact@example.org"], due_at=due_at)
    now = max(due_at, datetime(2026, 1, 1, tzinfo=UTC)) + timedelta(seconds=1)
    [email] = claim(shared_server().pk, "exact", now=now).emails
    assert (email.due_at, email.leased_until) == (due_at, now + claiming._LEASE)
