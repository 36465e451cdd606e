"""The gate of bulk mail: it waits for a scheduled action, at a cost no queue length changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.conversations.models import Message
from postroom.conversations.models.records import Stream
from postroom.outgoing import claiming, gates
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Email, Lane
from postroom.outgoing.relays import lane_of, shared_server
from postroom.outgoing.retry import RetryPolicy
from postroom.outgoing.settling import Ended, settle
from postroom.outgoing.waiting import Waiting
from postroom.schedule.models import ScheduledAction
from postroom.wire.reply import Outcome, Reply
from tests.outgoing.queued import queue
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 27, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def bulk(people: Cast, *addr_specs: str, **fields: Any) -> list[Email]:
    return queue(people.workspace, list(addr_specs), stream=Stream.BULK, is_gated=True, **fields)


def taken(**options: Any) -> list[str]:
    return [email.addr_spec for email in claiming.claim(shared_server().pk, "ours", **options).emails]


def set_gate(people: Cast, at: datetime | None) -> None:
    lane = lane_of(people.workspace, Stream.BULK)
    Lane.objects.filter(pk=lane.pk).update(released_until=at)


def test_bulk_mail_waits_until_it_is_released(people: Cast) -> None:
    bulk(people, "ben@example.org")
    assert (taken(), claiming.due_server_ids()) == ([], [])
    assert gates.release(people.workspace.pk, database_time()) == 1
    assert claiming.due_server_ids() == [shared_server().pk]
    assert taken() == ["ben@example.org"]


def test_urgent_mail_knows_no_gate(people: Cast) -> None:
    queue(people.workspace, ["ben@example.org"], is_gated=True)
    assert lane_of(people.workspace, Stream.URGENT).released_until is None
    assert taken() == ["ben@example.org"]


def test_what_comes_after_a_release_waits_for_the_next(people: Cast) -> None:
    bulk(people, "early@example.org", due_at=NOW - MINUTE)
    set_gate(people, NOW)
    bulk(people, "late@example.org", due_at=NOW + MINUTE)
    assert taken(now=NOW + timedelta(hours=1)) == ["early@example.org"]


def test_a_shut_lane_asks_for_no_time_at_which_the_engine_should_come_back(people: Cast) -> None:
    bulk(people, "ben@example.org", due_at=NOW)
    set_gate(people, NOW - MINUTE)
    now, lanes = claiming.waiting(now=NOW + MINUTE)
    assert claiming.next_at(lanes, now) is None
    assert claiming.claim(shared_server().pk, "ours", now=now).next_at is None


def test_a_release_lets_go_what_is_due_and_not_what_is_due_later(people: Cast) -> None:
    bulk(people, "now@example.org", due_at=NOW)
    bulk(people, "later@example.org", due_at=NOW + MINUTE)
    set_gate(people, NOW - MINUTE)
    assert gates.release(people.workspace.pk, NOW) == 1
    assert taken(now=NOW + 2 * MINUTE) == ["now@example.org"]


def test_a_release_never_takes_back_what_is_open_for_longer(people: Cast) -> None:
    bulk(people, "ben@example.org")
    set_gate(people, NOW + MINUTE)
    gates.release(people.workspace.pk, NOW)
    assert lane_of(people.workspace, Stream.BULK).released_until == NOW + MINUTE


def test_a_lane_of_an_earlier_version_is_shut_by_the_first_release(people: Cast) -> None:
    bulk(people, "ben@example.org", due_at=NOW)
    set_gate(people, None)
    gates.release(people.workspace.pk, NOW)
    assert lane_of(people.workspace, Stream.BULK).released_until == NOW


def test_a_release_leaves_mailings_and_other_workspaces_alone(people: Cast) -> None:
    other_people = cast("neighbour")
    [email] = bulk(people, "ben@example.org")
    [elsewhere] = bulk(other_people, "dora@example.org")
    Lane.objects.filter(pk=email.lane_id).update(message=email.message)
    assert gates.release(people.workspace.pk, database_time()) == 0
    assert gates.is_shut_for(Email.objects.get(pk=email.pk))
    assert gates.is_shut_for(Email.objects.get(pk=elsewhere.pk))


@pytest.mark.parametrize("count", [10, 3000])
def test_releasing_writes_one_row_however_much_waits(people: Cast, count: int) -> None:
    bulk(people, *(f"p{number}@example.org" for number in range(count)))
    with CaptureQueriesContext(connection) as asked:
        assert gates.release(people.workspace.pk, database_time()) == count
    assert [query["sql"].split()[1] for query in asked if query["sql"].startswith("UPDATE")] == [
        '"postroom_lane"'
    ]


def test_a_retry_of_bulk_mail_leaves_at_its_own_time_without_a_release(people: Cast) -> None:
    bulk(people, "ben@example.org")
    gates.release(people.workspace.pk, database_time())
    [claimed] = claiming.claim(shared_server().pk, "ours").emails
    now = database_time()
    ended = [Ended(claimed, Outcome.DEFERRED, Reply(451, None, "local error"))]
    settle("ours", ended, now=now, policy_of=lambda *_: RetryPolicy())
    email = Email.objects.select_related("lane").get()
    assert email.lane.released_until == email.due_at > now
    assert not gates.is_shut_for(email)
    assert claiming.claim(shared_server().pk, "again", now=now).next_at == email.due_at
    assert taken(now=email.due_at) == ["ben@example.org"]


def test_a_retry_of_urgent_mail_opens_no_gate(people: Cast) -> None:
    bulk(people, "bulk@example.org")
    before = lane_of(people.workspace, Stream.BULK).released_until
    queue(people.workspace, ["urgent@example.org"])
    [claimed] = claiming.claim(shared_server().pk, "ours").emails
    ended = [Ended(claimed, Outcome.DEFERRED, Reply(451, None, "local error"))]
    settle("ours", ended, now=database_time(), policy_of=lambda *_: RetryPolicy())
    assert lane_of(people.workspace, Stream.BULK).released_until == before
    assert lane_of(people.workspace, Stream.URGENT).released_until is None


def test_a_retry_opens_no_gate_while_the_queue_manager_is_off(people: Cast) -> None:
    [old] = bulk(people, "old@example.org")
    set_gate(people, old.due_at)
    ScheduledAction.objects.filter(workspace=people.workspace, key="mail_queue").update(is_active=False)
    [claimed] = claiming.claim(shared_server().pk, "ours").emails
    ended = [Ended(claimed, Outcome.DEFERRED, Reply(451, None, "local error"))]
    settle("ours", ended, now=database_time(), policy_of=lambda *_: RetryPolicy())
    bulk(people, "new@example.org")
    hours_later = database_time() + timedelta(hours=3)
    assert claiming.claim(shared_server().pk, "ours", now=hours_later).emails == ()
    Email.objects.filter(pk=old.pk).update(due_at=old.due_at)  # as Send Now does
    [again] = claiming.claim(shared_server().pk, "ours").emails
    assert again.addr_spec == "old@example.org"


TIMES = st.integers(-300, 300).map(lambda minutes: NOW + minutes * MINUTE)


@given(due_at=TIMES, gate=st.none() | TIMES, held_until=st.none() | TIMES)
def test_a_lane_is_ready_exactly_if_its_first_email_is_due_before_the_cutoff(
    due_at: datetime, gate: datetime | None, held_until: datetime | None
) -> None:
    lane = Waiting(1, 1, 1, "bulk", held_until, False, due_at, released_until=gate)
    is_held = held_until is not None and held_until > NOW
    assert lane.is_ready(NOW) is (due_at <= lane.cutoff(NOW) and not is_held)
    opens_at = lane.opens_at(NOW)
    assert (opens_at is None) is (gate is not None and gate < due_at)
    assert opens_at is None or lane.is_ready(opens_at)


@given(gate=st.none() | TIMES, dues=st.lists(TIMES, min_size=1, max_size=12, unique=True), now=TIMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_claim_takes_what_is_due_until_the_gate_and_nothing_else(
    people: Cast, gate: datetime | None, dues: list[datetime], now: datetime
) -> None:
    Email.objects.all().delete()
    Message.objects.all().delete()
    for number, due_at in enumerate(dues):
        bulk(people, f"n{number}@example.org", due_at=due_at)
    set_gate(people, gate)
    claimed = {email.email_id for email in claiming.claim(shared_server().pk, "x", now=now).emails}
    until = now if gate is None else min(now, gate)
    assert claimed == set(Email.objects.filter(due_at__lte=until).values_list("pk", flat=True))
