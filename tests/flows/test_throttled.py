"""A server that asks for less gets less and the mail stays due; what it announces, and what nobody checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.diagnostics.trail import trail
from postroom.flows import sending
from postroom.outgoing.models import Attempt, Email, Lane, MailServer
from postroom.outgoing.relays import shared_server
from tests.flows.test_sending import lane_of, wait_it_out
from tests.flows.test_trouble import run, server
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast, cast
from tests.smtp.authority import Authority
from tests.smtp.scripted import Answers, ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.1)


def against(settings: Any, answers: Answers, later: Mapping[int, Answers] | None = None) -> Callable[[], Any]:
    """Drain the shared relay against a scripted one; call it to do so."""

    def once() -> ScriptedRelay:
        async def story() -> ScriptedRelay:
            script = ScriptedRelay(answers, later or {})
            async with script.serve():
                settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{script.port}"
                await sending.drain(engine_lane)
            return script

        return run(story())

    engine_lane = shared_server().engine_lane
    return once


def pause_of(server: MailServer) -> float:
    assert server.down_until is not None
    return (server.down_until - timezone.now()).total_seconds()


def test_a_server_that_asks_for_less_is_left_alone_and_the_mail_stays_due(
    people: Cast, settings: Any
) -> None:
    emails = queue(people.workspace, [f"p{n}@example.org" for n in range(60)])
    script = against(settings, {"MAIL": b"451 4.7.0 Too many messages, slow down\r\n"})()
    row, lane = shared_server(), Lane.objects.get()
    assert (row.down_because, row.failure_count) == ("throttled", 1)
    assert row.last_failure == "451 4.7.0 Too many messages, slow down"
    assert (lane.held_because, lane.held_until) == ("throttled", row.down_until)
    assert 25 < pause_of(row) <= 30
    assert 0 < script.verbs().count("MAIL") < 30
    tried = Email.objects.filter(attempt_count=1)
    assert set(tried.values_list("state", "throttled_count", "lease")) == {("outgoing", 1, "")}
    assert all(email.due_at <= timezone.now() for email in Email.objects.all())
    assert Attempt.objects.filter(outcome="deferred", code=451).count() == tried.count()
    assert tally_adds_up(emails[0].message)


def test_the_pause_doubles_while_the_server_goes_on_asking_and_success_ends_it(
    people: Cast, settings: Any
) -> None:
    queue(people.workspace, [f"p{n}@example.org" for n in range(20)])
    once = against(settings, {"MAIL": b"421 4.7.0 Try again later, closing connection\r\n"})
    pauses = []
    for _ in range(3):
        once()
        pauses.append(pause_of(shared_server()))
        wait_it_out()
    assert [round(pause / 30) for pause in pauses] == [1, 2, 4]
    against(settings, {})()
    row = shared_server()
    assert (row.failure_count, row.down_because, row.down_until) == (0, "", None)
    assert set(Email.objects.values_list("state", flat=True)) == {"sent"}


def test_no_other_server_is_used_to_get_round_a_limit(people: Cast, settings: Any) -> None:
    server(people, "second")
    queue(people.workspace, [f"p{n}@example.org" for n in range(10)])
    against(settings, {"MAIL": b"421 4.7.0 Slow down\r\n"})()
    lane = Lane.objects.get()
    assert (lane.via, lane.held_because) == (None, "throttled")


def test_one_mail_that_is_always_throttled_does_not_stop_the_others(people: Cast, settings: Any) -> None:
    queue(people.workspace, ["busy@example.org", *(f"p{n}@example.org" for n in range(200))])

    def answer(line: bytes) -> bytes:
        return b"421 4.3.2 Too busy\r\n" if b"busy@" in line else b"250 2.1.5 Ok\r\n"

    once = against(settings, {"RCPT": answer})
    for _ in range(2):
        once()
        wait_it_out()
    assert Email.objects.filter(state="sent").count() == 200
    assert Email.objects.get(address__addr_spec="busy@example.org").state == "outgoing"


def test_greylisting_slows_nothing_down(people: Cast, settings: Any) -> None:
    queue(people.workspace, [f"p{n}@example.org" for n in range(30)])
    script = against(settings, {"RCPT": b"450 4.2.0 Greylisted, come back later\r\n"})()
    assert script.verbs().count("RCPT") == 30
    assert shared_server().down_because == ""
    assert set(Email.objects.values_list("attempt_count", "throttled_count")) == {(1, 0)}


def test_an_unchecked_certificate_is_never_silent(people: Cast, settings: Any, tmp_path: Path) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])

    async def story() -> None:
        script = ScriptedRelay(tls=Authority().server_side(tmp_path), offers=("STARTTLS",))
        async with script.serve():
            where = f"127.0.0.1:{script.port}"
            settings.POSTROOM_RELAY_URL = f"smtp+starttls://{where}?verify_certificate=no"
            await sending.drain(engine_lane)

    engine_lane = lane_of(email)
    run(story())
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.is_tls, attempt.is_unverified) == ("accepted", True, True)
    steps = [step.detail for step in trail(email.message, "ben@example.org").steps]
    assert any("TLS, unverified" in step for step in steps)


def test_the_announced_size_is_kept_and_a_larger_mail_fails_with_a_clear_text(
    people: Cast, settings: Any
) -> None:
    octets = (
        b"From: a@demo.example\r\nTo: %(to)b\r\nX-Postroom-Copy: %(copy)b\r\n\r\n" + b"a" * 5000 + b"\r\n"
    )
    [email] = queue(people.workspace, ["ben@example.org"], octets=octets)

    async def story() -> ScriptedRelay:
        script = ScriptedRelay(offers=("PIPELINING", "SIZE 4000"))
        async with script.serve():
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{script.port}"
            await sending.drain(engine_lane)
        return script

    engine_lane = lane_of(email)
    assert "MAIL" not in run(story()).verbs()
    assert shared_server().announced_size == 4000
    email.refresh_from_db()
    assert (email.state, email.failure_kind) == ("failed", "refused")
    assert email.failure_text.startswith("552 5.3.4 The mail has ")
