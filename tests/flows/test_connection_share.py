"""A server's connection limit holds for all stations together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from postroom.conversations.models.records import Stream
from postroom.flows import sending
from postroom.flows.draining import Drain, connection_share
from postroom.outgoing.models import Email, MailServer
from postroom.workspaces import stations
from tests.outgoing.queued import RelayDoor, queue, relay
from tests.people import Cast, cast


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@given(st.integers(1, 200), st.integers(1, 10**6), st.integers(1, 12))
def test_all_shares_are_the_limit_and_the_urgent_part_is_never_more_than_it_was(
    limit: int, server_id: int, count: int
) -> None:
    server = MailServer(pk=server_id, connection_limit=limit)
    shares = [connection_share(server, (rank, count)) for rank in range(count)]
    whole = connection_share(server, (0, 1))
    assert sum(share.limit for share in shares) == limit
    assert sum(share.kept for share in shares) <= whole.kept
    assert all(share.kept < share.limit or share.limit == 0 for share in shares)
    if limit >= 2 * count:
        assert sum(share.kept for share in shares) == whole.kept


def test_alone_a_quarter_is_kept_for_urgent_mail() -> None:
    server = MailServer(pk=1, connection_limit=20)
    assert connection_share(server, (0, 1)).kept == 5


@pytest.mark.parametrize(("place", "open_count"), [((0, 1), 3), ((0, 3), 1)])
def test_no_more_connections_are_open_than_our_share(
    people: Cast,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[int, int],
    open_count: int,
) -> None:
    lane = queue_slow(people, 20)
    MailServer.objects.update(connection_limit=3)
    monkeypatch.setattr(stations, "place", lambda: place)

    async def story() -> int:
        async with relay(settings) as door, draining(lane):
            await until_taken(door, open_count)
            await asyncio.sleep(0.3)
            return len(door.taken)  # each connection waits for the answer to its first

    assert asyncio.run(story()) == open_count


@pytest.mark.parametrize("rank", [0, 1])
def test_a_single_connection_belongs_to_one_station_and_the_others_leave_the_lane_alone(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    lane = email.lane.server.engine_lane
    MailServer.objects.update(connection_limit=1)
    is_ours = (rank + email.lane.server.pk) % 2 == 0
    monkeypatch.setattr(stations, "place", lambda: (rank, 2))

    async def story() -> int:
        async with relay(settings) as door:
            await asyncio.wait_for(sending.drain(lane), 20)
            return len(door.taken)

    assert asyncio.run(story()) == (1 if is_ours else 0)
    email.refresh_from_db()
    assert (email.state, email.lease) == ("sent" if is_ours else "outgoing", "")


def test_a_run_ends_when_another_station_comes_and_gives_back_what_has_not_begun(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = queue_slow(people, 60)
    runs: list[Drain] = []
    begin = Drain.__aenter__

    async def noting(run: Drain) -> Drain:
        runs.append(run)
        return await begin(run)

    monkeypatch.setattr(Drain, "__aenter__", noting)

    async def story() -> None:
        async with relay(settings) as door, draining(lane) as run:
            await until_taken(door, 2)
            monkeypatch.setattr(stations, "place", lambda: (0, 2))
            while not runs[0].is_outdated:
                await asyncio.sleep(0.01)
            door.gate.set()
            await asyncio.wait_for(run, 20)

    asyncio.run(story())
    assert runs[0].is_outdated
    assert not Email.objects.exclude(lease="").exists()
    assert Email.objects.filter(state="outgoing", attempt_count=0).exists()


def test_a_run_whose_lease_was_taken_away_while_its_machine_stood_still_begins_nothing_more(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = queue_slow(people, 60)
    monkeypatch.setattr("postroom.flows.draining.RENEW_SECONDS", 0.1)

    async def story() -> int:
        async with relay(settings) as door, draining(lane) as run:
            await until_taken(door, 2)
            await asyncio.to_thread(as_another_machine_would)
            await asyncio.sleep(1.5)
            door.gate.set()
            await asyncio.wait_for(run, 20)
            return len(door.taken)

    assert asyncio.run(story()) < 60


def as_another_machine_would() -> None:
    """It finds the lease over, and has everything under it in hand anew."""
    later = timezone.now() + timedelta(minutes=30)
    Email.objects.exclude(lease="").update(lease="0" * 32, leased_until=later)
    connections.close_all()


def queue_slow(people: Cast, count: int) -> str:
    """Mails that the relay does not answer before its gate opens; return the lane."""
    addr_specs = [f"slow{n}@example.org" for n in range(count)]
    return queue(people.workspace, addr_specs, stream=Stream.BULK)[0].lane.server.engine_lane


@contextlib.asynccontextmanager
async def draining(lane: str) -> AsyncIterator[asyncio.Task[Any]]:
    """A drain under way, ended in any case."""
    run = asyncio.create_task(sending.drain(lane))
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def until_taken(door: RelayDoor, count: int) -> None:
    """Wait until the relay has so many in hand."""
    async with asyncio.timeout(10):
        while len(door.taken) < count:
            await asyncio.sleep(0.01)
