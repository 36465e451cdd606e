"""The limits of a server per minute, hour and day."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.conversations.models.records import Stream
from postroom.outgoing import allowances, claiming, settling
from postroom.outgoing.models import Allowance, Email, Lane, MailServer
from postroom.outgoing.relays import shared_server
from postroom.wire.reply import Outcome
from tests.outgoing.limited import DUE, NOON, RESET, end, holds, lane_over, limit, own_server, take
from tests.outgoing.queued import queue
from tests.people import Cast

MINUTE = timedelta(minutes=1)
Unit = Allowance.Unit


def waiting(people: Cast, count: int, **limits: int) -> MailServer:
    """A server of the workspace's own with these limits, and so many Emails due over it."""
    server = own_server(people.workspace, **limits)
    lane = lane_over(people.workspace, server)
    queue(people.workspace, [f"p{n}@example.org" for n in range(count)], due_at=DUE, lane=lane)
    return server


def test_a_claim_takes_no_more_than_a_window_leaves_and_the_rest_waits_for_the_next(people: Cast) -> None:
    server = waiting(people, 10, limit_per_minute=4, limit_per_hour=6)
    assert len(take(server=server).emails) == 4
    second = take(server=server, now=NOON + timedelta(seconds=20))
    assert (second.emails, second.next_at) == ((), NOON + MINUTE)
    assert holds(people.workspace, server)["urgent"] == ("rate_limit", NOON + MINUTE)
    assert len(take(server=server, now=NOON + MINUTE).emails) == 2
    third = take(server=server, now=NOON + MINUTE)
    assert (third.emails, third.next_at) == ((), NOON + timedelta(hours=1))
    assert len(take(server=server, now=NOON + timedelta(hours=1)).emails) == 4


def test_a_day_of_a_server_starts_at_midnight_utc(people: Cast) -> None:
    server = waiting(people, 3, limit_per_day=2)
    take(server=server)
    assert take(server=server, now=RESET).next_at == datetime.fromisoformat("2026-03-29T00:00:00+00:00")


def test_a_full_server_holds_all_its_lanes_and_no_other_servers(people: Cast) -> None:
    server = waiting(people, 3, limit_per_hour=1)
    bulk = lane_over(people.workspace, server, Stream.BULK)
    queue(people.workspace, ["bulk@example.org"], stream=Stream.BULK, due_at=DUE, lane=bulk)
    shared = lane_over(people.workspace, shared_server())
    take(server=server)
    take(server=server)
    assert set(Lane.objects.filter(server=server).values_list("held_because", flat=True)) == {"rate_limit"}
    shared.refresh_from_db()
    assert shared.held_because == ""


def test_what_was_claimed_and_never_attempted_is_given_back(people: Cast) -> None:
    server = waiting(people, 12, limit_per_minute=4)
    first = take(server=server).emails
    take("other", server=server)
    claiming.release("mine", first[:1])
    settling.give_up("mine", [(first[1], "cannot be put together")])
    settling.capture("mine", first[2:3])
    end(first[3:], Outcome.DEFERRED)
    assert holds(people.workspace, server)["urgent"] == ("", None)
    assert len(take("other", server=server, now=NOON + timedelta(seconds=59)).emails) == 3


def test_what_is_given_back_later_counts_for_the_window_in_which_it_was_claimed(people: Cast) -> None:
    server = waiting(people, 12, limit_per_minute=4)
    first = take(server=server, now=NOON + timedelta(seconds=59)).emails
    assert len(take("other", server=server, now=NOON + MINUTE).emails) == 4
    claiming.release("mine", first)
    assert take("other", server=server, now=NOON + MINUTE).emails == ()


def test_places_go_back_to_the_server_they_were_kept_at_whoever_carries_the_lane_now(people: Cast) -> None:
    home = waiting(people, 12, limit_per_hour=10)
    stand_in = MailServer.objects.create(
        workspace=people.workspace, name="stand-in", host="s.example", limit_per_hour=100
    )
    end(take(server=home).emails[:10], Outcome.ACCEPTED)
    Lane.objects.filter(server=home).update(via=stand_in, held_until=None, held_because="")
    carried = take("other", server=stand_in).emails
    assert len(carried) == 2
    Lane.objects.filter(server=home).update(via=None)
    claiming.release("other", carried)
    used = dict(Allowance.objects.filter(unit=Unit.HOUR).values_list("server_id", "used_count"))
    assert used == {home.pk: 10, stand_in.pk: 0}


def test_both_limits_count_on_the_shared_relay(people: Cast) -> None:
    MailServer.objects.filter(pk=shared_server().pk).update(limit_per_hour=3)
    limit(people.workspace, 5)
    queue(people.workspace, [f"p{n}@example.org" for n in range(9)], due_at=DUE)
    assert len(take().emails) == 3
    assert take().next_at == NOON + timedelta(hours=1)
    assert len(take(now=NOON + timedelta(hours=1)).emails) == 2
    assert take(now=NOON + timedelta(hours=1)).next_at == RESET


def test_a_server_without_limits_costs_no_statement(people: Cast) -> None:
    server = waiting(people, 9)
    with CaptureQueriesContext(connection) as without:
        take(server=server, limit=2)
    MailServer.objects.filter(pk=server.pk).update(limit_per_minute=100, limit_per_day=100)
    take(server=server, limit=2)
    with CaptureQueriesContext(connection) as limited:
        take(server=server, limit=2)
    sets_a_limit_of_waiting = connection.vendor == "postgresql"
    assert len(limited) - len(without) == 2 + sets_a_limit_of_waiting


@given(
    limits=st.tuples(*[st.none() | st.integers(1, 9)] * 3),
    steps=st.lists(
        st.tuples(st.integers(0, 5000), st.integers(1, 12), st.integers(0, 3), st.booleans()), max_size=12
    ),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_no_window_more_is_sent_than_its_limit(
    people: Cast, limits: tuple[int | None, ...], steps: list[tuple[int, int, int, bool]]
) -> None:
    units = dict(zip((Unit.MINUTE, Unit.HOUR, Unit.DAY), limits, strict=True))
    set_limits = {f"limit_per_{unit}": number for unit, number in units.items() if number}
    with transaction.atomic():
        server = waiting(people, 80, **set_limits)
        sent: Counter[tuple[str, datetime]] = Counter()
        now = NOON
        for seconds, size, untouched, is_settled in steps:
            now += timedelta(seconds=seconds)
            got = take(server=server, now=now, limit=size).emails
            claiming.release("mine", got[:untouched])
            sent.update((unit, allowances.window_start(unit, now)) for unit in units for _ in got[untouched:])
            if is_settled:
                end(got[untouched:], Outcome.ACCEPTED, now=now)
        for (unit, start), count in sent.items():
            number = units[Unit(unit)]
            assert number is None or count <= number
            if number is not None:
                row = Allowance.objects.get(server=server, unit=unit, starts_at=start)
                assert row.used_count == count
        transaction.set_rollback(True)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.sampled_from(list(Unit)[1:]))  # noqa: DTZ001
def test_every_instant_lies_in_exactly_one_window(naive: datetime, unit: str) -> None:
    at = naive.replace(tzinfo=NOON.tzinfo)
    start, over = allowances.window_start(unit, at), allowances.window_end(unit, at)
    assert start <= at < over
    assert allowances.window_start(unit, over) == over
    assert allowances.window_end(unit, start) == over


def test_no_email_is_lost_between_the_windows(people: Cast) -> None:
    server = waiting(people, 10, limit_per_minute=3)
    for minute in range(4):
        end(take(server=server, now=NOON + minute * MINUTE).emails, Outcome.ACCEPTED)
    assert Email.objects.filter(state="sent").count() == 10
