"""A server in trouble: who stands in, when it is tried again, what expires, and what slows it down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from django.db import connections
from django.utils import timezone

from postroom import engine
from postroom.diagnostics.models import Event
from postroom.diagnostics.trail import trail
from postroom.engine.embedded import Engine
from postroom.flows import sending, trouble
from postroom.flows.mail_servers import unarchive
from postroom.flows.submitting import submit
from postroom.outgoing import holds
from postroom.outgoing.models import Attempt, Email, Lane, MailServer
from postroom.outgoing.relays import shared_server
from postroom.workspaces.parameters import put
from tests.flows.test_sending import lane_of, wait_it_out
from tests.outgoing.queued import RelayDoor, queue, relay, tally_adds_up
from tests.people import Cast, cast
from tests.smtp.scripted import ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")
NOWHERE = "smtp://127.0.0.1:1"


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.1)


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the lanes that were woken."""
    names: list[str] = []
    monkeypatch.setattr(engine, "wake", names.append)
    return names


def run(story: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(story, 30))


def server(people: Cast, name: str, port: int = 1, **fields: Any) -> MailServer:
    made = {"host": "127.0.0.1", "port": port, "encryption": "none", **fields}
    return MailServer.objects.create(workspace=people.workspace, name=name, **made)


def queued_at(home: MailServer, *emails: Email) -> None:
    """Let Emails wait for a server of the workspace."""
    Lane.objects.filter(pk__in=[email.lane_id for email in emails]).update(server=home)


@contextlib.asynccontextmanager
async def standing_in(stand_in: MailServer) -> AsyncIterator[RelayDoor]:
    """Let a server of the workspace take mail."""

    settings = SimpleNamespace()
    async with relay(settings) as door:
        port = int(settings.POSTROOM_RELAY_URL.rpartition(":")[2])
        await asyncio.to_thread(lambda: MailServer.objects.filter(pk=stand_in.pk).update(port=port))
        yield door


def drain(*servers: MailServer) -> list[Any]:
    """Drain these servers once, one after the other."""

    async def story() -> list[Any]:
        return [await sending.drain(each.engine_lane) for each in servers]

    return run(story())


def test_trouble_is_written_into_the_servers_row_and_outlives_the_process(
    people: Cast, settings: Any
) -> None:
    queue(people.workspace, ["ben@example.org"])
    settings.POSTROOM_RELAY_URL = NOWHERE
    drain(shared_server())
    first = shared_server()
    assert (first.down_because, first.failure_count) == ("server_unreachable", 1)
    assert "127.0.0.1:1" in first.last_failure
    assert first.failing_since is not None
    wait_it_out()
    [until] = drain(first)
    again = shared_server()
    assert (again.failure_count, again.failing_since, again.down_until) == (2, first.failing_since, until)
    assert until - timezone.now() > timedelta(seconds=25)


def test_a_server_that_is_left_alone_is_not_asked_and_new_lanes_wait_too(people: Cast, settings: Any) -> None:
    queue(people.workspace, ["ben@example.org"])
    settings.POSTROOM_RELAY_URL = NOWHERE
    [until] = drain(shared_server())
    queue(people.workspace, ["carla@example.com"], stream="bulk")  # type: ignore[arg-type]
    assert drain(shared_server()) == [until]
    assert shared_server().failure_count == 1
    assert set(Lane.objects.values_list("held_because", "held_until")) == {("server_unreachable", until)}


def test_at_the_start_of_an_engine_every_server_is_worth_a_try(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    settings.POSTROOM_RELAY_URL = NOWHERE
    drain(shared_server())
    sending.recover()
    assert (shared_server().down_until, Lane.objects.get().held_because) == (None, "")
    assert sending.due() == [lane_of(email)]


def test_another_server_stands_in_and_the_trail_says_why(people: Cast, woken: list[str]) -> None:
    home, other = server(people, "first"), server(people, "second", priority=20)
    emails = queue(people.workspace, ["ben@example.org", "carla@example.com"])
    queued_at(home, *emails)

    async def story() -> RelayDoor:
        async with standing_in(other) as door:
            await sending.drain(home.engine_lane)
            assert woken == [other.engine_lane]
            await sending.drain(other.engine_lane)
            return door

    assert len(run(story()).taken) == 2
    assert set(Email.objects.values_list("state", flat=True)) == {"sent"}
    assert set(Attempt.objects.values_list("server_name", flat=True)) == {"second"}
    lane = Lane.objects.get()
    assert (lane.via, lane.held_until, lane.held_because) == (other, None, "")
    [event] = Event.objects.filter(kind="server.stand_in")
    assert (event.detail["home"], event.detail["via"]) == ("first", "second")
    assert "failed (step: connect)" in event.detail["why"]
    steps = [step.detail for step in trail(emails[0].message, "ben@example.org").steps]
    assert any("over second" in step and "because first could not be reached" in step for step in steps)


def test_the_event_is_told_once_and_not_for_every_try_in_vain(people: Cast) -> None:
    home, _ = server(people, "first"), server(people, "second")
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    for _ in range(3):
        drain(home)
        wait_it_out()
    home.refresh_from_db()
    assert home.failure_count == 3
    assert Event.objects.filter(kind="server.stand_in").count() == 1


def test_home_is_tried_again_and_its_lanes_come_home(people: Cast) -> None:
    home, other = server(people, "first"), server(people, "second")
    [email] = queue(people.workspace, ["ben@example.org"])
    queued_at(home, email)
    drain(home)
    assert Lane.objects.get().via == other
    wait_it_out()
    assert sending.due() == [home.engine_lane, other.engine_lane]

    async def story() -> RelayDoor:
        async with standing_in(home) as door:
            await sending.drain(home.engine_lane)
            return door

    assert len(run(story()).taken) == 1
    home.refresh_from_db()
    assert (home.failure_count, home.down_until, home.down_because) == (0, None, "")
    assert Lane.objects.get().via is None
    assert Attempt.objects.get().server_name == "first"


def test_a_wake_up_of_a_server_that_is_left_alone_reaches_its_stand_in(
    people: Cast, woken: list[str]
) -> None:
    home, other = server(people, "first"), server(people, "second")
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    drain(home)
    woken.clear()
    drain(home)
    assert woken == [other.engine_lane]


def test_when_the_stand_in_fails_as_well_the_next_one_takes_over_and_then_the_lane_waits(
    people: Cast,
) -> None:
    home, second, third = (server(people, name) for name in ("first", "second", "third"))
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    drain(home, second)
    assert Lane.objects.get().via == third
    drain(third)
    lane = Lane.objects.get()
    home.refresh_from_db()
    assert (lane.via, lane.held_because, lane.held_until) == (None, "server_unreachable", home.down_until)
    assert set(Email.objects.values_list("state", "attempt_count", "lease")) == {("outgoing", 0, "")}


@pytest.mark.parametrize(
    "unfit",
    [
        {"from_filter": "elsewhere.example"},
        {"is_active": False},
        {"is_personal": True},
        {"down_until": timezone.now() + timedelta(hours=1)},
    ],
    ids=["a filter that does not cover", "archived", "personal", "down itself"],
)
def test_a_server_that_does_not_fit_never_stands_in(people: Cast, unfit: dict[str, Any]) -> None:
    fields = dict(unfit)
    if fields.pop("is_personal", False):
        fields["owner"] = people.ana
    home = server(people, "first", from_filter="demo.example")
    server(people, "second", **fields)
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    drain(home)
    lane = Lane.objects.get()
    assert (lane.via, lane.held_because) == (None, "server_unreachable")
    assert not Event.objects.filter(kind="server.stand_in").exists()


def test_the_shared_relay_stands_in_last_and_only_if_it_is_set(people: Cast, settings: Any) -> None:
    shared = shared_server()
    home, second = server(people, "first"), server(people, "second", priority=99)
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    settings.POSTROOM_RELAY_URL = NOWHERE
    drain(home)
    assert Lane.objects.get().via == second
    drain(second)
    assert Lane.objects.get().via == shared
    settings.POSTROOM_RELAY_URL = ""
    wait_it_out()
    drain(home)
    lane = Lane.objects.get()
    assert lane.via == second


@pytest.mark.parametrize(
    ("from_filter", "is_carried"),
    [
        ("", True),
        ("demo.postroom.localhost", True),
        ("victim.example", False),
        ("olga@victim.example", False),
    ],
)
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_server_that_takes_any_from_stands_in_for_own_domains_only(
    people: Cast, settings: Any, from_filter: str, is_carried: bool, is_shared: bool
) -> None:
    settings.POSTROOM_RELAY_URL = NOWHERE if is_shared else ""
    home = server(people, "first", from_filter=from_filter)
    open_one = shared_server() if is_shared else server(people, "second")
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    drain(home)
    assert Lane.objects.get().via == (open_one if is_carried else None)


def test_a_foreign_from_is_not_lent_a_stand_in_by_taking_it_out_of_the_filter(
    people: Cast, settings: Any
) -> None:
    settings.POSTROOM_RELAY_URL = NOWHERE
    home = server(people, "first", from_filter="guest.example")
    raw = b"From: gus@guest.example\r\nSubject: x\r\n\r\nhello\r\n"
    submit(people.workspace, raw, reverse_path="", forward_paths=["b@example.org"], member=people.ana)
    MailServer.objects.filter(pk=home.pk).update(from_filter="")
    drain(home)
    lane = Lane.objects.get()
    assert (lane.server, lane.via, lane.held_because) == (home, None, "server_unreachable")


@pytest.mark.parametrize(
    ("home", "other", "is_carried"),
    [
        ({"encryption": "tls"}, {}, False),
        ({"encryption": "starttls"}, {"encryption": "tls", "is_certificate_checked": False}, False),
        ({"encryption": "tls", "is_certificate_checked": False}, {"encryption": "starttls"}, True),
        ({"encryption": "starttls"}, {"encryption": "tls"}, True),
        ({}, {"encryption": "tls"}, True),
    ],
)
def test_a_stand_in_protects_the_mail_as_well_as_its_own_server(
    people: Cast, home: dict[str, Any], other: dict[str, Any], is_carried: bool
) -> None:
    first, second = server(people, "first", **home), server(people, "second", **other)
    queued_at(first, *queue(people.workspace, ["ben@example.org"]))
    drain(first)
    assert Lane.objects.get().via == (second if is_carried else None)


@pytest.mark.parametrize("url", [NOWHERE, "smtps://127.0.0.1:1"])
def test_the_shared_relay_in_clear_is_no_stand_in_for_tls(people: Cast, settings: Any, url: str) -> None:
    settings.POSTROOM_RELAY_URL = url
    home = server(people, "first", encryption="tls")
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    drain(home)
    assert Lane.objects.get().via == (None if url == NOWHERE else shared_server())


def test_nothing_stands_in_for_the_shared_relay_which_carries_what_opens_logins(
    people: Cast, settings: Any
) -> None:
    settings.POSTROOM_RELAY_URL = NOWHERE
    queue(people.workspace, ["ben@example.org"])
    server(people, "theirs")
    drain(shared_server())
    lane = Lane.objects.get()
    assert (lane.via, lane.held_because) == (None, "server_unreachable")


def test_another_workspaces_server_never_stands_in(people: Cast) -> None:
    from postroom.workspaces.models import Workspace

    stranger = Workspace.objects.create(slug="other", name="Other")
    MailServer.objects.create(workspace=stranger, name="theirs", host="127.0.0.1", port=1, encryption="none")
    home = server(people, "first")
    queued_at(home, *queue(people.workspace, ["ben@example.org"]))
    drain(home)
    assert Lane.objects.get().via is None


def test_a_hold_by_the_daily_limit_is_not_ended_by_a_servers_trouble(people: Cast, settings: Any) -> None:
    queue(people.workspace, ["ben@example.org"])
    until = timezone.now() + timedelta(hours=5)
    Lane.objects.update(held_until=until, held_because="daily_limit")
    holds.hold_server(shared_server().pk, timezone.now(), holds.SERVER_UNREACHABLE, "It is down")
    holds.reopen(shared_server().pk)
    assert Lane.objects.values_list("held_until", "held_because").get() == (until, "daily_limit")


def test_everything_wakes_by_itself(people: Cast, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "hold_seconds", lambda count: 0.4)
    home, other = server(people, "first"), server(people, "second")
    [first] = queue(people.workspace, ["ben@example.org"])
    queued_at(home, first)

    def post(addr_spec: str) -> None:
        [email] = queue(people.workspace, [addr_spec], lane=Lane.objects.get(server=home))
        assert email.state == "outgoing"
        engine.wake(home.engine_lane)
        connections.close_all()

    async def until(door: RelayDoor, count: int) -> None:
        while len(door.taken) < count:
            await asyncio.sleep(0.02)

    async def story() -> None:
        started = Engine(data_folder, [sending.KIND], tick_seconds=3600)
        async with standing_in(other) as second:
            await started.start()
            await until(second, 1)  # nobody woke the stand-in but the server that was not reached
            await asyncio.to_thread(post, "carla@example.com")
            await until(second, 2)
            async with standing_in(home) as door:
                await asyncio.sleep(1.0)  # longer than the gap: home is tried without being asked
                await asyncio.to_thread(post, "dora@example.org")
                await until(door, 1)
            await started.stop(5)

    run(story())
    assert sorted(Attempt.objects.values_list("addr_spec", "server_name")) == [
        ("ben@example.org", "second"),
        ("carla@example.com", "second"),
        ("dora@example.org", "first"),
    ]
    assert Lane.objects.get(server=home).via is None


# What waits too long for a server that is down.


def ago(**hours: float) -> Any:
    return timezone.now() - timedelta(**hours)


def test_what_a_dead_server_keeps_beyond_the_deadline_expires(people: Cast, settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = NOWHERE
    old = queue(people.workspace, ["ben@example.org", "carla@example.com"], due_at=ago(hours=49))
    [young] = queue(people.workspace, ["dora@example.org"], due_at=ago(hours=47))
    MailServer.objects.filter(pk=shared_server().pk).update(failing_since=ago(hours=49), failure_count=500)
    drain(shared_server())
    rows = Email.objects.filter(message=old[0].message).values_list("state", "failure_kind", "lease")
    assert set(rows) == {("failed", "expired", "")}
    assert Email.objects.get(pk=young.pk).state == "outgoing"
    attempt = Attempt.objects.filter(email=old[0]).get()
    assert attempt.outcome == "unreachable"
    assert "127.0.0.1:1" in attempt.text
    assert old[0].message.tally.is_red
    assert tally_adds_up(old[0].message)
    assert tally_adds_up(young.message)
    told = trail(old[0].message, "ben@example.org")
    assert "could not be reached" in told.verdict
    assert told.who_must_act == "The operator of Postroom"


def test_mail_that_waited_for_another_reason_is_not_expired_by_a_short_outage(
    people: Cast, settings: Any
) -> None:
    settings.POSTROOM_RELAY_URL = NOWHERE
    [email] = queue(people.workspace, ["ben@example.org"], due_at=ago(hours=200))
    drain(shared_server())
    assert Email.objects.get(pk=email.pk).state == "outgoing"


def test_each_stream_has_its_own_deadline(people: Cast, settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = NOWHERE
    put(people.workspace.pk, "mail.retry.bulk_deadline_hours", "4")
    [bulk] = queue(people.workspace, ["ben@example.org"], stream="bulk", due_at=ago(hours=5))  # type: ignore[arg-type]
    [urgent] = queue(people.workspace, ["carla@example.com"], due_at=ago(hours=5))
    MailServer.objects.filter(pk=shared_server().pk).update(failing_since=ago(hours=6), failure_count=50)
    drain(shared_server())
    assert Email.objects.get(pk=bulk.pk).failure_kind == "expired"
    assert Email.objects.get(pk=urgent.pk).state == "outgoing"


def test_what_is_too_large_for_the_stand_in_alone_waits_for_its_own_server(people: Cast) -> None:
    home, other = server(people, "first"), server(people, "second")
    octets = (
        b"From: a@demo.example\r\nTo: %(to)b\r\nX-Postroom-Copy: %(copy)b\r\n\r\n" + b"a" * 5000 + b"\r\n"
    )
    [large] = queue(people.workspace, ["ben@example.org"], octets=octets)
    [small] = queue(people.workspace, ["carla@example.com"])
    queued_at(home, large, small)

    async def story() -> None:
        script = ScriptedRelay(offers=("PIPELINING", "SIZE 4000"))
        async with script.serve():
            await asyncio.to_thread(lambda: MailServer.objects.filter(pk=other.pk).update(port=script.port))
            await sending.drain(home.engine_lane)
            await sending.drain(other.engine_lane)

    run(story())
    assert Email.objects.get(pk=small.pk).state == "sent"
    large.refresh_from_db()
    assert (large.state, large.failure_text[:9]) == ("outgoing", "552 5.3.4")
    assert large.due_at > timezone.now()


def test_what_waits_at_an_archived_server_is_held_and_says_so_and_leaves_once_it_is_back(
    people: Cast,
) -> None:
    """It carries nothing, however the mail got there, and another stands in where one may."""
    home = server(people, "first", is_active=False, from_filter="demo.example")
    [email] = queue(people.workspace, ["ben@example.org"])
    queued_at(home, email)

    async def story() -> RelayDoor:
        async with standing_in(home) as door:
            await sending.drain(home.engine_lane)
            return door

    assert run(story()).taken == []
    assert Lane.objects.get().held_because == "server_archived"
    verdict = trail(email.message, "ben@example.org").verdict
    assert "its outgoing server is archived" in verdict
    unarchive(MailServer.objects.get(pk=home.pk), by=people.olga)
    assert len(run(story()).taken) == 1


def test_another_server_stands_in_for_one_that_is_archived(people: Cast) -> None:
    """And the trail says why."""
    home, other = server(people, "first", is_active=False), server(people, "second")
    [email] = queue(people.workspace, ["ben@example.org"])
    queued_at(home, email)
    drain(home)
    assert Lane.objects.get().via == other
    [event] = Event.objects.filter(kind="server.stand_in")
    assert event.detail["why"] == "The server is archived"
