"""Every way in which a server misbehaves has a written outcome: docs/reference/delivery-outcomes.md."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from postroom.conversations.models.records import Stream
from postroom.flows import draining, sending
from postroom.outgoing.models import Attempt, Email, MailServer
from postroom.outgoing.relays import shared_server
from postroom.smtp.client import Connections
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast, cast
from tests.smtp.authority import Authority
from tests.smtp.scripted import BRIEF, Act, Answers, ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)
FIFTY_LINES = b"".join(b"250-2.0.0 line %d\r\n" % n for n in range(49)) + b"250 2.0.0 queued as A1\r\n"
GONE, AGAIN, MAYBE, REFUSED, TAKEN = "unreachable", "deferred", "uncertain", "refused", "accepted"


class Case(NamedTuple):
    """What the server does; the attempt written of it (None: none), the Email's state, the server's hold."""

    answers: Answers
    outcome: str | None
    state: str = "outgoing"
    hold: str = ""
    bulk_state: str = ""


CASES = {
    "greeting 554": Case({"GREETING": b"554 5.7.1 Not you\r\n"}, None, hold="server_unreachable"),
    "greeting 421": Case({"GREETING": b"421 4.3.2 Later\r\n"}, None, hold="server_unreachable"),
    "no SMTP at all": Case({"GREETING": b"HTTP/1.1 400 Bad Request\r\n"}, None, hold="server_unreachable"),
    "hang at the greeting": Case({"GREETING": Act.SILENCE}, None, hold="server_unreachable"),
    "hang at EHLO": Case({"EHLO": Act.SILENCE}, None, hold="server_unreachable"),
    "RST at EHLO": Case({"EHLO": Act.RESET}, None, hold="server_unreachable"),
    "hang at MAIL": Case({"MAIL": Act.SILENCE}, GONE),
    "hang at RCPT": Case({"RCPT": Act.SILENCE}, GONE),
    "hang at DATA": Case({"DATA": Act.SILENCE}, GONE),
    "hang after the dot": Case({"DOT": Act.SILENCE}, MAYBE, bulk_state="failed"),
    "drop at MAIL": Case({"MAIL": Act.CLOSE}, GONE),
    "drop at RCPT": Case({"RCPT": Act.CLOSE}, GONE),
    "RST at RCPT": Case({"RCPT": Act.RESET}, GONE),
    "half-closed at RCPT": Case({"RCPT": Act.HALF_CLOSE}, GONE),
    "drop at DATA": Case({"DATA": Act.CLOSE}, GONE),
    "drop while content leaves": Case({"DATA": (b"354 go on\r\n", Act.CLOSE)}, MAYBE, bulk_state="failed"),
    "drop after the dot": Case({"DOT": Act.CLOSE}, MAYBE, bulk_state="failed"),
    "RST after the dot": Case({"DOT": Act.RESET}, MAYBE, bulk_state="failed"),
    "half-closed after the dot": Case({"DOT": Act.HALF_CLOSE}, MAYBE, bulk_state="failed"),
    "421 at MAIL": Case({"MAIL": b"421 4.3.2 Closing\r\n"}, AGAIN, hold="throttled"),
    "421 after the dot": Case({"DOT": b"421 4.3.2 Closing\r\n"}, AGAIN, hold="throttled"),
    "greylisting": Case({"RCPT": b"450 4.7.1 Greylisted, come back later\r\n"}, AGAIN),
    "452 mailbox full": Case({"RCPT": b"452 4.2.2 Mailbox full\r\n"}, AGAIN),
    "452 no room after the dot": Case({"DOT": b"452 4.3.1 Insufficient storage\r\n"}, AGAIN),
    "550 at RCPT": Case({"RCPT": b"550 5.1.1 Unknown\r\n"}, REFUSED, "failed"),
    "554 after the dot": Case({"DOT": b"554 5.7.1 Spam\r\n"}, REFUSED, "failed"),
    "garbage at RCPT": Case({"RCPT": b"\xff\x00what\r\n"}, AGAIN),
    "garbage after the dot": Case({"DOT": b"what?\r\n"}, MAYBE, bulk_state="failed"),
    "250 instead of 354": Case({"DATA": b"250 2.0.0 Ok\r\n"}, AGAIN),
    "250 before the content": Case({"DATA": b"354 go on\r\n250 2.0.0 Ok\r\n"}, MAYBE, bulk_state="failed"),
    "a reply of 50 lines": Case({"DOT": FIFTY_LINES}, TAKEN, "sent"),
}


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(draining, "Connections", functools.partial(Connections, timeouts=BRIEF))


def drained(settings: Any, script: ScriptedRelay, url: str = "smtp://127.0.0.1:{port}") -> MailServer:
    """Send what is due over a scripted relay; return the server as it is then."""
    name = shared_server().engine_lane

    async def story() -> None:
        async with script.serve():
            settings.POSTROOM_RELAY_URL = url.format(port=script.port)
            await asyncio.wait_for(sending.drain(name), 20)

    asyncio.run(story())
    return shared_server()


@pytest.mark.parametrize("stream", [Stream.URGENT, Stream.BULK])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_misbehaviour_has_its_outcome(people: Cast, settings: Any, case: Case, stream: Stream) -> None:
    [email] = queue(people.workspace, ["ben@example.org"], stream=stream)
    server = drained(settings, ScriptedRelay(case.answers))
    email.refresh_from_db()
    expected = case.bulk_state or case.state if stream is Stream.BULK else case.state
    assert (email.state, email.lease) == (expected, "")
    outcomes = list(Attempt.objects.values_list("outcome", flat=True))
    assert outcomes == [] if case.outcome is None else set(outcomes) == {case.outcome}
    assert server.down_because == case.hold
    assert (server.last_failure != "") is bool(case.hold)
    assert email.attempt_count == len(outcomes)
    assert tally_adds_up(email.message)


def test_a_reply_of_fifty_lines_is_kept_whole_with_the_attempt(people: Cast, settings: Any) -> None:
    queue(people.workspace, ["ben@example.org"])
    drained(settings, ScriptedRelay({"DOT": FIFTY_LINES}))
    attempt = Attempt.objects.get()
    assert attempt.text.count("\n") == 49
    assert attempt.text.startswith("line 0\n")
    assert attempt.remote_id == "A1"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("bad certificate", "certificate"),
        ("handshake cut", "step: tls"),
        ("stripped", "does not offer STARTTLS"),
        ("injected", "spoke out of turn"),
    ],
)
def test_tls_that_does_not_hold_sends_nothing_and_says_why(
    people: Cast, settings: Any, tmp_path: Path, what: str, words: str
) -> None:
    [email] = queue(people.workspace, ["ben@example.org"])
    answers: dict[str, Answers] = {
        "handshake cut": {"STARTTLS": (b"220 Ready\r\n", Act.CLOSE)},
        "injected": {"STARTTLS": (b"220 Ready\r\n250 2.0.0 Injected\r\n", Act.STARTTLS)},
    }
    offers = () if what == "stripped" else ("STARTTLS",)
    script = ScriptedRelay(answers.get(what, {}), tls=Authority().server_side(tmp_path), offers=offers)
    server = drained(settings, script, "smtp+starttls://127.0.0.1:{port}")
    assert server.down_because == "server_unreachable"
    assert words in server.last_failure
    assert "MAIL" not in script.verbs()
    email.refresh_from_db()
    assert (email.state, email.attempt_count) == ("outgoing", 0)


def test_one_dropped_connection_fails_no_other_mail(people: Cast, settings: Any) -> None:
    queue(people.workspace, ["drop@example.org", *(f"p{n}@example.org" for n in range(40))])

    def answer(line: bytes) -> Any:
        return Act.CLOSE if b"drop@" in line else b"250 2.1.5 Ok\r\n"

    server = drained(settings, ScriptedRelay({"RCPT": answer}))
    assert Email.objects.filter(state="sent").count() == 40
    assert Email.objects.get(address__addr_spec="drop@example.org").state == "outgoing"
    assert server.down_because == ""


def test_one_of_fifty_recipients_refused_is_the_only_red_one(people: Cast, settings: Any) -> None:
    queue(people.workspace, ["gone@example.org", *(f"p{n}@example.org" for n in range(49))])

    def answer(line: bytes) -> Any:
        return b"550 5.1.1 Unknown\r\n" if b"gone@" in line else b"250 2.1.5 Ok\r\n"

    drained(settings, ScriptedRelay({"RCPT": answer}))
    assert Email.objects.filter(state="sent").count() == 49
    assert Email.objects.get(state="failed").failure_text == "550 5.1.1 Unknown"
