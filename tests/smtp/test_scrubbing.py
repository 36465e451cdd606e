"""A server that repeats our credentials does not get them shown to anybody."""

from __future__ import annotations

import base64

import pytest

from postroom.smtp.client import Connections, RelayUnreachable, Security
from postroom.wire.reply import Outcome
from tests.smtp.conftest import Run
from tests.smtp.scripted import PATIENT, Answers, Pigeonhole, ScriptedRelay, mail
from tests.smtp.test_client_opening import failure_of

USER, PASSWORD = "acc", "top-secret-4711"
PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


def is_shown(text: str) -> bool:
    return PASSWORD in text or PLAIN in text or base64.b64encode(PASSWORD.encode()).decode() in text


@pytest.mark.parametrize("offer", ["AUTH PLAIN", "AUTH LOGIN"])
def test_a_refused_login_is_told_without_what_we_said(run: Run[RelayUnreachable], offer: str) -> None:
    said: list[bytes] = []

    def repeat(line: bytes) -> bytes:
        said.append(line)
        return b"535 5.7.8 Wrong: " + line.strip() + b" and " + PASSWORD.encode() + b"\r\n"

    script = ScriptedRelay({"AUTH": repeat}, offers=(offer,))
    failure = run(failure_of(script, user=USER, password=PASSWORD))
    assert said
    assert failure.reply is not None
    assert (failure.reply.code, failure.reply.text[:6]) == (535, "Wrong:")
    assert not is_shown(str(failure) + failure.reply.text)


def test_a_token_that_a_server_repeats_is_not_shown(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay({"AUTH": b"535 5.7.8 no: ya29.a-b\r\n"}, offers=("AUTH XOAUTH2",))
    assert "ya29.a-b" not in str(run(failure_of(script, user=USER, token=lambda: "ya29.a-b")))


@pytest.mark.parametrize("verb", ["RCPT", "DOT"])
def test_a_refused_mail_is_told_without_the_password(run: Run[Pigeonhole], verb: str) -> None:
    refusal = f"550 5.7.1 no, {PASSWORD} {PLAIN}\r\n".encode()
    answers: Answers = {"AUTH": b"235 2.7.0 In\r\n", verb: refusal}

    async def story() -> Pigeonhole:
        script, hole = ScriptedRelay(answers, offers=("AUTH PLAIN",)), Pigeonhole([mail()])
        async with script.serve():
            relay = script.relay(Security.NONE, user=USER, password=PASSWORD)
            connections = Connections(relay, hole, hole, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            await connections.close()
        return hole

    hole = run(story())
    [settled] = hole.outcomes.values()
    assert settled.outcome is Outcome.REFUSED
    assert settled.reply is not None
    assert not is_shown(settled.reply.text)


def test_a_huge_greeting_is_told_briefly(run: Run[RelayUnreachable]) -> None:
    big = b"".join([b"554-" + b"A" * 8000 + b"\r\n"] * 998) + b"554 no\r\n"
    failure = run(failure_of(ScriptedRelay({"GREETING": big})))
    assert len(str(failure)) < 700
