"""Who we say we are: client certificates and OAuth 2.0 tokens; and certificates that do not hold."""

from __future__ import annotations

import asyncio
import base64
import functools
import glob
import os
import ssl
import tempfile
import threading
import time
from pathlib import Path

import pytest

from postroom.smtp import opening, tokens
from postroom.smtp.client import Connections, Relay, RelayUnreachable, Security
from postroom.wire.reply import Outcome
from tests.smtp.authority import Authority
from tests.smtp.conftest import Run
from tests.smtp.scripted import PATIENT, Act, Answers, Pigeonhole, ScriptedRelay, mail
from tests.smtp.test_client_opening import failure_of

CHALLENGE = base64.b64encode(b'{"status":"400","schemes":"bearer"}')


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def sent(script: ScriptedRelay, relay_of: Security, **settings: object) -> Pigeonhole:
    hole = Pigeonhole([mail()])
    async with script.serve(implicit_tls=relay_of is Security.TLS):
        relay = script.relay(relay_of, **settings)
        connections = Connections(relay, hole, hole, timeouts=PATIENT)
        await connections.start()
        await connections.drained()
        await connections.close()
    return hole


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_client_certificate_is_shown(
    run: Run[Pigeonhole], authority: Authority, tmp_path: Path, security: Security
) -> None:
    ours = authority.of_client("postroom.example")
    script = ScriptedRelay(tls=authority.asking_clients(tmp_path), offers=("STARTTLS",))
    hole = run(
        sent(
            script,
            security,
            verify_certificate=False,
            client_certificate=ours.certificate,
            client_key=ours.key,
        )
    )
    assert hole.kinds() == [Outcome.ACCEPTED]
    shown = script.visits[0].transport.get_extra_info("peercert")
    assert shown["subject"] == ((("commonName", "postroom.example"),),)


def test_without_its_client_certificate_a_relay_lets_nobody_in(
    run: Run[RelayUnreachable], authority: Authority, tmp_path: Path
) -> None:
    script = ScriptedRelay(tls=authority.asking_clients(tmp_path))
    failure = run(failure_of(script, Security.TLS, implicit_tls=True, verify_certificate=False))
    assert failure.step in ("tls", "greeting")
    assert script.contents == []


def test_a_client_key_leaves_no_file_behind(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = authority.of_client("postroom.example")
    seen: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(context: ssl.SSLContext, path: str, **named: object) -> None:
        seen.append(os.stat(path).st_mode & 0o077)
        load(context, path, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    before = set(glob.glob(f"{tempfile.gettempdir()}/tmp*"))
    relay = Relay(host="h", port=25, client_certificate=ours.certificate, client_key=ours.key)
    relay.context()
    monkeypatch.delattr(os, "memfd_create", raising=False)
    relay.context()
    ours_left = [
        path
        for path in set(glob.glob(f"{tempfile.gettempdir()}/tmp*")) - before
        if os.path.isfile(path) and ours.key in Path(path).read_text("latin-1")
    ]
    assert ours_left == []
    assert seen[-1] == 0
    assert ours.key not in repr(relay)


def test_a_client_certificate_that_cannot_be_used_is_told_with_the_remedy(
    run: Run[RelayUnreachable], authority: Authority
) -> None:
    ours, another = authority.of_client("a.example"), authority.of_client("b.example")
    failure = run(
        failure_of(
            ScriptedRelay(),
            Security.TLS,
            implicit_tls=False,
            client_certificate=ours.certificate,
            client_key=another.key,
        )
    )
    assert (failure.step, failure.is_permanent) == ("tls", True)
    assert "belonging together" in str(failure)
    assert "PRIVATE KEY-----\n" not in str(failure)


@pytest.mark.parametrize(
    ("made", "words"),
    [((-1, "127.0.0.1"), "expired"), ((2, "mail.example.org"), "127.0.0.1"), ((2, "127.0.0.1"), "issuer")],
    ids=["expired", "another name", "unknown authority"],
)
def test_a_certificate_that_does_not_hold_stops_the_mail(
    run: Run[RelayUnreachable], authority: Authority, tmp_path: Path, made: tuple[int, str], words: str
) -> None:
    script = ScriptedRelay(tls=authority.server_side(tmp_path, made[1], days=made[0]))
    trusted = ssl.create_default_context(cadata=authority.certificate)
    known = {} if words == "issuer" else {"tls_context": trusted}
    failure = run(failure_of(script, Security.TLS, implicit_tls=True, **known))
    assert (failure.step, failure.is_permanent) == ("tls", True)
    assert words in str(failure)
    assert script.lines == []


def test_a_token_is_given_as_xoauth2(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"AUTH": b"235 2.7.0 In\r\n"}, offers=("AUTH PLAIN XOAUTH2",))
    hole = run(sent(script, Security.NONE, user="ana@example.org", token=lambda: "t0ken"))
    assert hole.kinds() == [Outcome.ACCEPTED]
    verb, name, given = script.lines[1].split(b" ")
    assert (verb, name) == (b"AUTH", b"XOAUTH2")
    assert base64.b64decode(given) == b"user=ana@example.org\x01auth=Bearer t0ken\x01\x01"


def test_a_refused_token_ends_after_an_empty_answer_to_the_challenge(run: Run[RelayUnreachable]) -> None:
    answers: Answers = {"AUTH": b"334 %b\r\n" % CHALLENGE, "": b"535 5.7.8 Expired\r\n"}
    script = ScriptedRelay(answers, offers=("AUTH XOAUTH2",))
    failure = run(failure_of(script, user="ana@example.org", token=lambda: "t0ken"))
    assert script.lines[-1] == b""
    assert (failure.step, failure.is_permanent) == ("auth", True)
    assert failure.reply is not None
    assert failure.reply.code == 535
    assert "t0ken" not in str(failure)
    assert CHALLENGE.decode() not in str(failure)


def test_a_relay_that_hangs_up_on_a_token_is_not_reached(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay({"AUTH": Act.CLOSE}, offers=("AUTH XOAUTH2",))
    assert run(failure_of(script, user="ana", token=lambda: "t0ken")).step == "auth"


def test_a_relay_without_xoauth2_gets_no_token(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay(offers=("AUTH PLAIN LOGIN",))
    failure = run(failure_of(script, user="ana", password="secret", token=lambda: "t0ken"))
    assert (failure.step, failure.is_permanent) == ("auth", True)
    assert script.verbs() == ["EHLO"]


def test_a_token_that_cannot_be_had_reaches_who_asked(run: Run[RelayUnreachable]) -> None:
    def refused() -> str:
        raise RelayUnreachable("The provider refuses the refresh token.", step="auth", is_permanent=True)

    script = ScriptedRelay(offers=("AUTH XOAUTH2",))
    failure = run(failure_of(script, user="ana", token=refused))
    assert str(failure) == "The provider refuses the refresh token."


def test_a_token_that_does_not_come_is_not_awaited_for_long(
    run: Run[RelayUnreachable], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(opening, "fetched", functools.partial(tokens.fetched, seconds=0.1))

    def never() -> str:
        gate.wait(10)
        return "late"

    script = ScriptedRelay(offers=("AUTH XOAUTH2",))
    try:
        failure = run(failure_of(script, user="ana", token=never))
    finally:
        gate.set()
    assert (failure.step, str(failure)) == ("auth", "No access token could be had within 0.1 s.")


@pytest.mark.parametrize("wrong", [LookupError("geheim"), RecursionError()])
def test_whatever_fetching_a_token_raises_is_a_relay_that_is_not_reached(
    run: Run[RelayUnreachable], wrong: Exception
) -> None:
    def token() -> str:
        raise wrong

    failure = run(failure_of(ScriptedRelay(offers=("AUTH XOAUTH2",)), user="ana", token=token))
    assert (failure.step, "geheim" in str(failure)) == ("auth", False)


def test_a_token_that_cannot_be_written_is_a_relay_that_is_not_reached(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay(offers=("AUTH XOAUTH2",))
    assert run(failure_of(script, user="ana", token=lambda: "\ud800")).step == "auth"


def test_tokens_that_hang_leave_the_threads_alone_that_everything_else_runs_in(run: Run[float]) -> None:
    gate = threading.Event()

    def never() -> str:
        gate.wait(10)
        return ""

    async def story() -> float:
        hanging = [asyncio.create_task(tokens.fetched(never, 0.5)) for _ in range(64)]
        await asyncio.sleep(0.05)
        began_at = time.monotonic()
        await asyncio.to_thread(time.monotonic)
        took = time.monotonic() - began_at
        await asyncio.gather(*hanging, return_exceptions=True)
        return took

    try:
        assert run(story()) < 0.4
    finally:
        gate.set()
