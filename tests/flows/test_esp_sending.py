"""From the queue to the API of a provider and back into the rows."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.flows import esp_calls, esp_sending, sending, writing_back
from postroom.outgoing.claiming import Claimed
from postroom.outgoing.copies import Copies, Signature
from postroom.outgoing.esp import account_of
from postroom.outgoing.models import Attempt, Email, Lane, MailServer
from postroom.outgoing.relays import lane_of as lane_in
from postroom.smtp.mail import MailObject
from tests.flows.test_sending import lane_of, send, wait_it_out
from tests.outgoing.provider_api import ProviderApi, esp_server, provider_api
from tests.outgoing.queued import queue, tally_adds_up
from tests.outgoing.signed import active_key
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)
VALUES = {b"to": b"ben@example.org", b"copy": b"mark"}
LETTER = b"\r\n".join(
    [
        b"From: Ana Pop <ana@demo.example>",
        b"To: %(to)b",
        b"Reply-To: reply@demo.example",
        b"Subject: =?utf-8?q?L=C4=83mpi?=".replace(b"%", b"%%"),
        b"Date: Mon, 02 Mar 2026 10:00:00 +0000",
        b"Message-ID: <one@demo.example>",
        b"References: <zero@demo.example>",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        b"X-Postroom-Copy: %(copy)b",
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/mixed; boundary="m"',
        b"",
        b"--m",
        b'Content-Type: multipart/related; boundary="r"',
        b"",
        b"--r",
        b'Content-Type: multipart/alternative; boundary="a"',
        b"",
        b"--a",
        b"Content-Type: text/plain; charset=utf-8",
        b"",
        b"Hello",
        b"--a",
        b"Content-Type: text/html; charset=utf-8",
        b"",
        b'<p>Hello <img src="cid:lamp"></p>',
        b"--a--",
        b"--r",
        b'Content-Type: image/png; name="lamp.png"',
        b"Content-ID: <lamp>",
        b'Content-Disposition: inline; filename="lamp.png"',
        b"",
        b"PNG octets",
        b"--r--",
        b"--m",
        b"Content-Type: application/pdf",
        b'Content-Disposition: attachment; filename="offer.pdf"',
        b"",
        b"%%PDF octets",
        b"--m--",
        b"",
    ]
)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@pytest.fixture
def api() -> Iterator[ProviderApi]:
    with provider_api() as served:
        yield served


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.1)


def queued(
    people: Cast, server: MailServer, addr_specs: list[str], stream: Stream = Stream.URGENT, **fields: Any
) -> list[Email]:
    lane = lane_in(people.workspace, stream, server)
    return queue(people.workspace, addr_specs, stream=stream, lane=lane, **fields)


def drain(server: MailServer) -> Any:
    return asyncio.run(asyncio.wait_for(sending.drain(server.engine_lane), 30))


def row(email: Email) -> tuple[str, str, str]:
    email.refresh_from_db()
    return email.state, email.failure_kind, email.failure_text


@pytest.mark.parametrize(("esp", "remote_id"), [("postmark", "00000001"), ("mailgun", "00000001@mg.example")])
def test_a_mail_that_the_provider_takes_is_sent_under_its_id(
    people: Cast, api: ProviderApi, esp: str, remote_id: str
) -> None:
    server = esp_server(people, api.url, esp)
    [email] = queued(people, server, ["ben@example.org"])
    assert drain(server) is None
    assert row(email) == ("sent", "", "")
    attempt = Attempt.objects.get(email=email)
    assert (attempt.outcome, attempt.code, attempt.remote_id) == ("accepted", 250, remote_id)
    assert (attempt.server_name, attempt.is_tls, attempt.number) == ("Provider", False, 1)
    assert tally_adds_up(email.message)
    server.refresh_from_db()
    assert server.last_reached_at is not None


def test_postmark_gets_the_parts_of_the_copy(people: Cast, api: ProviderApi) -> None:
    server = esp_server(people, api.url)
    queued(people, server, ["ben@example.org"], octets=LETTER)
    drain(server)
    [mail] = api.taken
    assert (mail["From"], mail["To"]) == ("Ana Pop <ana@demo.example>", "Ben Ortiz <ben@example.org>")
    assert (mail["Subject"], mail["ReplyTo"]) == ("Lămpi", "reply@demo.example")
    assert mail["TextBody"].strip() == "Hello"
    assert 'src="cid:lamp"' in mail["HtmlBody"]
    headers = {each["Name"]: each["Value"] for each in mail["Headers"]}
    assert headers["Message-ID"] == "<one@demo.example>"
    assert headers["References"] == "<zero@demo.example>"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert headers["X-PM-KeepID"] == "true"
    assert headers["X-Postroom-Copy"]
    assert not {"From", "To", "Subject", "Date", "Content-Type", "DKIM-Signature"} & headers.keys()
    picture, file = mail["Attachments"]
    assert (picture["ContentID"], picture["Name"]) == ("cid:lamp", "lamp.png")
    assert (file["Name"], base64.b64decode(file["Content"])) == ("offer.pdf", b"%PDF octets")


def test_mailgun_gets_the_parts_of_the_copy_under_the_domain_that_is_set(
    people: Cast, api: ProviderApi
) -> None:
    server = esp_server(people, api.url, "mailgun")
    queued(people, server, ["ben@example.org"], octets=LETTER)
    drain(server)
    [mail] = api.taken
    assert mail["path"] == "/mg.example/messages"
    assert mail["to"] == "Ben Ortiz <ben@example.org>"
    assert mail["h:Message-Id"] == "<one@demo.example>"
    assert mail["inline"] == ("lamp", b"PNG octets")
    assert mail["attachment"] == ("offer.pdf", b"%PDF octets")


def test_nobody_signs_what_the_provider_writes_anew(
    people: Cast, api: ProviderApi, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    active_key(people.domain)
    signed: list[int] = []
    sign = Copies.signature

    def noted(copies: Copies, email: Claimed) -> Signature:
        signed.append(email.email_id)
        return sign(copies, email)

    monkeypatch.setattr(Copies, "signature", noted)
    [over_smtp] = queue(people.workspace, ["carla@example.com"], octets=LETTER)
    send(settings, lane_of(over_smtp))
    server = esp_server(people, api.url)
    [over_api] = queued(people, server, ["ben@example.org"], octets=LETTER)
    drain(server)
    assert {row(over_smtp)[0], row(over_api)[0]} == {"sent"}
    assert signed == [over_smtp.pk]


@pytest.mark.parametrize(
    ("esp", "local_part", "head", "words"),
    [
        ("postmark", "inactive", "550 Postmark answered 422 ", "You tried to send to inactive recipients"),
        ("postmark", "code-422", "550 Postmark answered 422 ", "as you asked"),
        ("mailgun", "code-400", "550 Mailgun answered 400 Bad Request", "as you asked"),
    ],
)
def test_a_recipient_that_is_refused_turns_the_envelope_red_in_the_providers_words(
    people: Cast, api: ProviderApi, *, esp: str, local_part: str, head: str, words: str
) -> None:
    server = esp_server(people, api.url, esp)
    [email, other] = queued(people, server, [f"{local_part}@example.org", "ben@example.org"])
    drain(server)
    state, kind, text = row(email)
    assert (state, kind) == ("failed", "refused")
    assert text.startswith(head)
    assert words in text
    assert email.message.tally.is_red
    assert row(other)[0] == "sent"


def test_a_provider_in_trouble_is_tried_again(people: Cast, api: ProviderApi) -> None:
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["code-500@example.org"])
    next_at = drain(server)
    state, _, text = row(email)
    assert (state, text) == ("outgoing", "451 Postmark answered 500 Internal Server Error: as you asked")
    assert next_at == email.due_at > timezone.now()
    assert Attempt.objects.get(email=email).outcome == "deferred"
    assert not Lane.objects.exclude(held_because="").exists()


def test_a_429_slows_down_and_holds_the_lanes_in_the_providers_words(people: Cast, api: ProviderApi) -> None:
    api.status, api.words = 429, "Rate limit exceeded"
    server = esp_server(people, api.url)
    emails = queued(people, server, [f"person{n}@example.org" for n in range(40)], Stream.BULK)
    assert drain(server) is not None
    server.refresh_from_db()
    assert server.down_because == "throttled"
    assert "429 Too Many Requests: Rate limit exceeded" in server.last_failure
    assert len(api.asked) < 40
    assert set(Email.objects.values_list("state", flat=True)) == {"outgoing"}
    api.status = 0
    for _ in range(3):
        wait_it_out()
        drain(server)
    assert set(Email.objects.values_list("state", flat=True)) == {"sent"}
    assert len(api.taken) == len(emails)


@pytest.mark.parametrize("status", [401, 403, 402])
def test_credentials_that_are_not_taken_hold_the_lanes_and_fail_no_mail(
    people: Cast, api: ProviderApi, status: int
) -> None:
    api.status = status
    server = esp_server(people, api.url, connection_limit=1)
    [email, other] = queued(people, server, ["ben@example.org", "carla@example.com"])
    assert drain(server) is not None
    assert len(api.asked) == 1
    server.refresh_from_db()
    assert server.down_because == "server_unreachable"
    assert f"Postmark answered {status}" in server.last_failure
    assert "Correct the account's settings" in server.last_failure
    assert {row(email)[0], row(other)[0]} == {"outgoing"}
    assert email.attempt_count == other.attempt_count == 0
    api.status = 0
    wait_it_out()
    drain(server)
    assert {row(email)[0], row(other)[0]} == {"sent"}


def test_a_host_that_is_not_there_holds_the_lanes_before_anything_has_begun(people: Cast) -> None:
    server = esp_server(people, "http://127.0.0.1:1/")
    [email] = queued(people, server, ["ben@example.org"])
    assert drain(server) is not None
    server.refresh_from_db()
    assert server.last_failure == "Postmark is not reached: Connection refused."
    assert Lane.objects.get(server=server).held_because == "server_unreachable"
    assert row(email)[0] == "outgoing"
    assert not Attempt.objects.exists()


def test_a_host_that_goes_away_between_two_mails_leaves_no_mail_uncertain(people: Cast) -> None:
    with provider_api() as api:
        server = esp_server(people, api.url)
        session = esp_calls.ApiSession(account_of(server))
        session.reach()
        session.close()
    answer = session.send(MailObject(1, b"ana@demo.example", b"ben@example.org", LETTER % VALUES))
    assert answer.outcome == "unreachable"
    assert answer.trouble is not None


def test_no_answer_after_the_request_is_uncertain_and_bulk_is_left_to_people(
    people: Cast, api: ProviderApi
) -> None:
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["drop@example.org"], Stream.BULK)
    drain(server)
    assert row(email)[:2] == ("failed", "uncertain")
    assert Attempt.objects.get(email=email).outcome == "uncertain"
    assert api.asked == ["drop@example.org"]


def test_an_answer_that_takes_too_long_is_uncertain(
    people: Cast, api: ProviderApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esp_calls, "ANSWER_SECONDS", 0.3)
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["slow@example.org"], Stream.BULK)
    drain(server)
    assert row(email)[:2] == ("failed", "uncertain")


def test_calls_that_do_not_end_are_uncertain_when_the_drain_has_to_end(
    people: Cast, api: ProviderApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esp_sending, "CLOSE_SECONDS", 0.1)
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["slow@example.org"], Stream.BULK)

    async def story() -> None:
        task = asyncio.create_task(sending.drain(server.engine_lane))
        while not api.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        api.gate.set()

    asyncio.run(asyncio.wait_for(story(), 20))
    assert row(email)[:2] == ("failed", "uncertain")


def test_a_redirected_call_does_not_take_the_key_elsewhere(people: Cast, api: ProviderApi) -> None:
    api.status = 302
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["ben@example.org"])
    drain(server)
    assert row(email)[0] == "outgoing"
    server.refresh_from_db()
    assert server.down_because == "server_unreachable"
    assert len(api.asked) == 1


def test_without_the_extra_the_server_says_what_to_install(
    people: Cast, api: ProviderApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("anymail", "anymail.backends", "anymail.backends.postmark"):
        monkeypatch.setitem(sys.modules, name, None)
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["ben@example.org"])
    drain(server)
    server.refresh_from_db()
    assert "pip install 'postroom[esp]'" in server.last_failure
    assert row(email)[0] == "outgoing"


def test_options_that_are_missing_hold_the_lanes_and_are_named(people: Cast, api: ProviderApi) -> None:
    server = esp_server(people, api.url, options={"server_token": ""})
    queued(people, server, ["ben@example.org"])
    drain(server)
    server.refresh_from_db()
    assert server.last_failure == "Postmark needs server_token as well. Enter it with the server."


def test_a_mail_that_is_signed_as_a_whole_is_refused_and_not_taken_apart(
    people: Cast, api: ProviderApi
) -> None:
    signed = LETTER.replace(b"multipart/mixed", b"multipart/signed")
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["ben@example.org"], octets=signed)
    drain(server)
    assert row(email)[1] == "refused"
    assert "Send it over SMTP" in email.failure_text
    assert not api.asked


def test_many_mails_go_in_few_calls_at_a_time_and_none_twice(people: Cast, api: ProviderApi) -> None:
    server = esp_server(people, api.url, connection_limit=4)
    queued(people, server, [f"person{n}@example.org" for n in range(300)], Stream.BULK)
    assert drain(server) is None
    assert len(api.taken) == len(set(api.asked)) == 300
    assert set(Email.objects.values_list("state", "lease")) == {("sent", "")}


def test_no_secret_reaches_the_log(people: Cast, api: ProviderApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.status = 401
    server = esp_server(people, api.url)
    queued(people, server, ["ben@example.org"])
    drain(server)
    assert "server-token-1" not in caplog.text
    assert "server-token-1" not in repr(account_of(server))


@pytest.mark.parametrize(
    ("killed_at", "state", "kind"), [("the answer", "failed", "uncertain"), ("writing back", "sent", "")]
)
def test_a_worker_that_is_killed_during_a_call_does_not_send_it_again(
    people: Cast,
    api: ProviderApi,
    monkeypatch: pytest.MonkeyPatch,
    *,
    killed_at: str,
    state: str,
    kind: str,
) -> None:
    server = esp_server(people, api.url)
    recipient = "slow@example.org" if killed_at == "the answer" else "ben@example.org"
    [email] = queued(people, server, [recipient], Stream.BULK)
    child = drain_in_a_process(server, kills_itself=killed_at == "writing back", monkeypatch=monkeypatch)
    if killed_at == "the answer":
        while not api.asked:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    api.gate.set()
    assert sending.recover() == 1
    assert row(email)[:2] == (state, kind)
    drain(server)
    assert api.asked == [recipient]
    assert tally_adds_up(email.message)


def drain_in_a_process(server: MailServer, *, kills_itself: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    """Drain in a process of its own; it may die where it should write back. Return its id."""
    connections.close_all()
    child = os.fork()
    if child:
        return child
    try:
        if kills_itself:
            monkeypatch.setattr(writing_back, "write_back", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        drain(server)
    finally:
        os._exit(0)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (0, b"[" * 200_000, "uncertain"),
        (0, b" " * 5_000_000 + b"{}", "uncertain"),
        (500, b"[" * 200_000, "deferred"),
        (500, b'{"errors":' * 900 + b"1" + b"}" * 900, "deferred"),
        (422, b'{"errors":' * 3000 + b"1" + b"}" * 3000, None),
    ],
)
def test_an_answer_that_is_made_to_break_things_settles_its_mail(
    people: Cast, api: ProviderApi, *, status: int, body: bytes, outcome: str | None
) -> None:
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["ben@example.org"])
    api.status, api.raw = status, body
    drain(server)
    email.refresh_from_db()
    assert (email.lease, email.attempt_count) == ("", 1)
    attempt = Attempt.objects.get()
    assert attempt.outcome == (outcome or attempt.outcome)
    assert len(attempt.text) <= 500


def test_a_call_whose_thread_ends_in_an_error_is_settled_as_uncertain(
    people: Cast, api: ProviderApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(esp_sending, "_sent", broken)
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["ben@example.org"])
    drain(server)
    email.refresh_from_db()
    assert (email.lease, email.uncertain_count) == ("", 1)


def test_an_answer_without_end_is_uncertain_and_ends_the_run(
    people: Cast, api: ProviderApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(esp_sending, "CALL_SECONDS", 0.3)
    server = esp_server(people, api.url)
    [email] = queued(people, server, ["slow@example.org"])
    drain(server)
    email.refresh_from_db()
    server.refresh_from_db()
    assert (email.lease, email.uncertain_count) == ("", 1)
    assert "did not end its answer" in server.last_failure
