"""Trying a relay: every step that can fail says which one it was and why, and no mail is ever sent."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.smtp.errors import RelayUnreachable
from postroom.smtp.probe import Cause, Probed, ProbeState, ProbeStep, cause_of, probe
from postroom.smtp.relay import Relay, Security
from postroom.wire.reply import Reply
from tests.smtp.certificates import certificate, server_side, trusting
from tests.smtp.conftest import Run
from tests.smtp.scripted import BRIEF, PATIENT, Act, Answers, ScriptedRelay

NOW = datetime.now(UTC)
FROM, TO = "noreply@demo.example", "noreply@demo.example"
NEVER_SAID = {"DATA", "BDAT"}


async def tried(
    script: ScriptedRelay,
    security: Security = Security.NONE,
    *,
    implicit_tls: bool = False,
    reverse_path: str = FROM,
    change: Callable[[Relay], Relay] = lambda relay: relay,
    **settings: object,
) -> list[Probed]:
    async with script.serve(implicit_tls=implicit_tls):
        relay = change(script.relay(security, **settings))
        timeouts = replace(PATIENT, greeting=0.3, command=0.3, tls=2, connect=2)
        found = await probe(relay, reverse_path=reverse_path, forward_path=TO, now=NOW, timeouts=timeouts)
    assert not NEVER_SAID & set(script.verbs())
    assert script.contents == []
    assert sorted(each.step for each in found) == sorted(ProbeStep)
    return found


def failed_at(found: list[Probed]) -> tuple[ProbeStep, Cause]:
    """The one step that failed; what came before it must be well, what comes after it skipped."""
    states = [each.state for each in found]
    position = states.index(ProbeState.FAILED)
    assert ProbeState.FAILED not in states[position + 1 :]
    assert {each.cause for each in found[position + 1 :]} <= {Cause.NOT_REACHED}
    return found[position].step, found[position].cause


def of(found: list[Probed], step: ProbeStep) -> Probed:
    return next(each for each in found if each.step is step)


def test_a_good_relay_passes_every_step_and_gets_no_mail(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay()
    found = run(tried(script))
    assert [(each.step, each.state) for each in found] == [
        ("dns", "ok"),
        ("connect", "ok"),
        ("greeting", "ok"),
        ("tls", "skipped"),
        ("auth", "skipped"),
        ("mail", "ok"),
        ("rcpt", "ok"),
    ]
    assert of(found, ProbeStep.DNS).addresses == ("127.0.0.1",)
    assert of(found, ProbeStep.GREETING).said == "220 relay.example ESMTP"
    assert script.verbs() == ["EHLO", "MAIL", "RCPT", "RSET", "QUIT"]
    assert script.lines[1:3] == [b"MAIL FROM:<noreply@demo.example>", b"RCPT TO:<noreply@demo.example>"]


@pytest.mark.parametrize(
    ("answers", "step", "cause"),
    [
        ({"GREETING": b"554 5.7.1 Not you\r\n"}, "greeting", "turned_away"),
        ({"GREETING": b"421 4.3.2 Later\r\n"}, "greeting", "busy"),
        ({"GREETING": b"SSH-2.0-x\r\n"}, "greeting", "not_smtp"),
        ({"GREETING": Act.CLOSE}, "greeting", "hung_up"),
        ({"GREETING": Act.RESET}, "greeting", "hung_up"),
        ({"GREETING": Act.SILENCE}, "greeting", "timed_out"),
        ({"EHLO": b"502 no\r\n", "HELO": b"550 5.7.1 no\r\n"}, "greeting", "turned_away"),
        ({"EHLO": Act.CLOSE}, "greeting", "hung_up"),
        ({"MAIL": b"553 5.7.1 Sender address rejected: not owned\r\n"}, "mail", "sender_refused"),
        ({"MAIL": b"550 The from address does not match a verified identity\r\n"}, "mail", "sender_refused"),
        ({"MAIL": b"530 5.7.0 Authentication required\r\n"}, "mail", "auth_required"),
        ({"MAIL": b"530 5.7.0 Must issue a STARTTLS command first\r\n"}, "mail", "needs_tls"),
        ({"MAIL": b"452 4.3.1 Disk full\r\n"}, "mail", "busy"),
        ({"MAIL": Act.SILENCE}, "mail", "timed_out"),
        ({"MAIL": Act.CLOSE}, "mail", "hung_up"),
        ({"RCPT": b"554 5.7.1 <x>: Relay access denied\r\n"}, "rcpt", "relay_denied"),
        ({"RCPT": b"550 relay not permitted\r\n"}, "rcpt", "relay_denied"),
        ({"RCPT": b"550 5.1.1 no such user at relay.example\r\n"}, "rcpt", "recipient_refused"),
        ({"RCPT": b"450 4.2.0 Greylisted\r\n"}, "rcpt", "busy"),
        ({"RCPT": b"530 5.7.0 Authentication required\r\n"}, "rcpt", "auth_required"),
    ],
)
def test_a_step_that_fails_says_why_and_ends_the_test(
    run: Run[list[Probed]], answers: Answers, step: str, cause: str
) -> None:
    assert failed_at(run(tried(ScriptedRelay(answers)))) == (step, cause)


@pytest.mark.parametrize("host", ["no_such_host.invalid", "a..b.example", "x" * 64 + ".example", ""])
def test_a_host_that_does_not_exist_fails_before_anything_is_connected(
    run: Run[list[Probed]], host: str
) -> None:
    script = ScriptedRelay()
    found = run(tried(script, change=lambda relay: replace(relay, host=host)))
    step, cause = failed_at(found)
    assert step == "dns"
    assert cause in ("unknown_host", "no_name_server")  # without a network, no name server answers
    assert script.visits == []


def test_a_port_where_nobody_listens_refuses_the_connection(run: Run[list[Probed]]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = run(tried(ScriptedRelay(), change=lambda relay: replace(relay, port=port)))
    assert failed_at(found) == ("connect", "connection_refused")


def test_a_port_that_swallows_everything_times_out(run: Run[list[Probed]]) -> None:
    """As hosts do that block port 25: nothing answers the first packet."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(8)]
    for each in waiting:  # a full backlog drops what comes after it
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    relay = Relay(host="127.0.0.1", port=full.getsockname()[1])
    brief = replace(BRIEF, connect=0.5)
    try:
        found = run(probe(relay, reverse_path=FROM, forward_path=TO, now=NOW, timeouts=brief))
    finally:
        for each in (*waiting, full):
            each.close()
    assert failed_at(found) == ("connect", "timed_out")


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_trusted_certificate_is_named_with_its_end(
    run: Run[list[Probed]], tmp_path: Path, security: Security
) -> None:
    path = certificate(tmp_path)
    script = ScriptedRelay(tls=server_side(path), offers=("STARTTLS",))
    found = run(tried(script, security, implicit_tls=security is Security.TLS, tls_context=trusting(path)))
    tls = of(found, ProbeStep.TLS)
    assert (tls.state, tls.cause) == ("ok", "")
    assert tls.certificate is not None
    assert (tls.certificate.subject, tls.certificate.tls_version) == ("CN=relay.example", "TLSv1.3")
    assert timedelta(days=89) < tls.certificate.expires_at - NOW < timedelta(days=91)
    assert of(found, ProbeStep.RCPT).state == "ok"
    steps = [each.step for each in found]
    is_tls_first = steps.index(ProbeStep.TLS) < steps.index(ProbeStep.GREETING)
    assert is_tls_first is (security is Security.TLS)


@pytest.mark.parametrize(("days", "state", "cause"), [(13, "warning", "expires_soon"), (15, "ok", "")])
def test_a_certificate_that_expires_within_14_days_is_a_warning(
    run: Run[list[Probed]], tmp_path: Path, days: int, state: str, cause: str
) -> None:
    path = certificate(tmp_path, valid=timedelta(days=days))
    script = ScriptedRelay(tls=server_side(path), offers=("STARTTLS",))
    found = run(tried(script, Security.STARTTLS, tls_context=trusting(path)))
    assert (of(found, ProbeStep.TLS).state, of(found, ProbeStep.TLS).cause) == (state, cause)
    assert of(found, ProbeStep.RCPT).state == "ok"


@pytest.mark.parametrize(
    ("made", "is_trusted", "cause"),
    [
        ({}, False, "untrusted"),
        ({"valid": timedelta(days=-1)}, True, "expired"),
        ({"since": timedelta(days=-1)}, True, "not_yet_valid"),
        ({"ip": "127.0.0.9"}, True, "wrong_name"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused_for_its_reason(
    run: Run[list[Probed]], tmp_path: Path, made: dict[str, object], is_trusted: bool, cause: str
) -> None:
    path = certificate(tmp_path, **made)  # type: ignore[arg-type]
    script = ScriptedRelay(tls=server_side(path), offers=("STARTTLS", "AUTH PLAIN"))
    settings: dict[str, Any] = {"tls_context": trusting(path)} if is_trusted else {}
    found = run(tried(script, Security.STARTTLS, user="ana", password="geheim", **settings))
    assert failed_at(found) == ("tls", cause)
    assert script.verbs() == ["EHLO", "STARTTLS"]


def test_a_certificate_that_is_not_checked_is_a_warning(run: Run[list[Probed]], tmp_path: Path) -> None:
    script = ScriptedRelay(tls=server_side(certificate(tmp_path, ip="127.0.0.9")), offers=("STARTTLS",))
    found = run(tried(script, Security.STARTTLS, verify_certificate=False))
    assert (of(found, ProbeStep.TLS).state, of(found, ProbeStep.TLS).cause) == ("warning", "unchecked")
    assert of(found, ProbeStep.RCPT).state == "ok"


def test_a_certificate_that_nobody_can_read_is_a_warning(run: Run[list[Probed]], tmp_path: Path) -> None:
    path = certificate(tmp_path)
    head, body = path.read_text().split("-----BEGIN CERT")
    octets = ssl.PEM_cert_to_DER_cert("-----BEGIN CERT" + body)
    start = octets.rindex(b"\x17\x0d", 0, octets.index(b"relay.example", 90)) + 2  # notAfter: YYMMDD…
    unreadable = octets[: start + 2] + b"99" + octets[start + 4 :]
    path.write_text(head + ssl.DER_cert_to_PEM_cert(unreadable))
    script = ScriptedRelay(tls=server_side(path), offers=("STARTTLS",))
    found = run(tried(script, Security.STARTTLS, verify_certificate=False))
    assert (of(found, ProbeStep.TLS).state, of(found, ProbeStep.TLS).cause) == ("warning", "unchecked")
    assert of(found, ProbeStep.RCPT).state == "ok"


def test_a_relay_without_starttls_gets_no_password(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay(offers=("AUTH PLAIN",))
    found = run(tried(script, Security.STARTTLS, user="ana", password="geheim"))
    assert failed_at(found) == ("tls", "no_starttls")
    assert "AUTH" not in script.verbs()


def test_a_relay_that_refuses_starttls_is_told_from_one_that_does_not_offer_it(
    run: Run[list[Probed]],
) -> None:
    script = ScriptedRelay({"STARTTLS": b"554 5.7.3 Unable\r\n"}, offers=("STARTTLS",))
    assert failed_at(run(tried(script, Security.STARTTLS))) == ("tls", "starttls_refused")


def test_a_plain_port_is_told_from_a_tls_port(run: Run[list[Probed]]) -> None:
    assert failed_at(run(tried(ScriptedRelay(), Security.TLS))) == ("tls", "not_tls")


def test_two_sides_without_a_common_tls_version_are_a_matter_of_protocol(
    run: Run[list[Probed]], tmp_path: Path
) -> None:
    path = certificate(tmp_path)
    dated, modern = server_side(path), trusting(path)
    dated.maximum_version = ssl.TLSVersion.TLSv1_2
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=shake_hands_once, args=(server, dated))
        answering.start()
        relay = Relay(
            host="127.0.0.1", port=server.getsockname()[1], security=Security.TLS, tls_context=modern
        )
        found = run(probe(relay, reverse_path=FROM, forward_path=TO, now=NOW, timeouts=PATIENT))
        answering.join(5)
    assert failed_at(found) == ("tls", "tls_protocol")


def shake_hands_once(server: socket.socket, context: ssl.SSLContext) -> None:
    """As OpenSSL's own servers do: with an alert before the connection is closed."""
    visitor, _ = server.accept()
    with visitor, suppress(ssl.SSLError):
        context.wrap_socket(visitor, server_side=True).close()


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_server_that_wants_a_client_certificate_says_so(
    run: Run[list[Probed]], tmp_path: Path, security: Security
) -> None:
    path = certificate(tmp_path)
    strict = server_side(path)
    strict.verify_mode = ssl.CERT_REQUIRED
    strict.load_verify_locations(path)
    script = ScriptedRelay(tls=strict, offers=("STARTTLS",))
    found = run(tried(script, security, implicit_tls=security is Security.TLS, tls_context=trusting(path)))
    assert failed_at(found)[1] in ("certificate_wanted", "hung_up")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"535 5.7.8 Authentication failed\r\n", "wrong_password"),
        (b"534 5.7.9 Application-specific password required\r\n", "app_password"),
        (b"538 5.7.11 Encryption required\r\n", "needs_tls"),
        (b"530 5.7.0 Must issue a STARTTLS command first\r\n", "needs_tls"),
        (b"550 5.7.1 Account blocked\r\n", "auth_refused"),
        (b"454 4.7.0 Temporary failure\r\n", "busy"),
        (Act.CLOSE, "hung_up"),
        (Act.SILENCE, "timed_out"),
    ],
)
def test_a_login_that_fails_says_why(run: Run[list[Probed]], answer: bytes | Act, cause: str) -> None:
    script = ScriptedRelay({"AUTH": answer}, offers=("AUTH PLAIN",))
    assert failed_at(run(tried(script, user="ana", password="geheim"))) == ("auth", cause)


def test_a_relay_that_offers_no_login_is_told_from_one_that_refuses_it(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay(offers=("PIPELINING",))
    assert failed_at(run(tried(script, user="ana", password="geheim"))) == ("auth", "no_auth")


OAUTH = ("AUTH XOAUTH2",)
CHALLENGE = base64.b64encode(b'{"status":"400"}')


def no_token() -> str:
    raise LookupError("the provider said: geheim")


@pytest.mark.parametrize(
    ("answer", "token", "cause"),
    [
        (b"535 5.7.8 Authentication failed\r\n", lambda: "t", "token_refused"),
        (b"334 %b\r\n" % CHALLENGE, lambda: "t", "auth_refused"),
        (b"235 2.7.0 In\r\n", no_token, "no_token"),
    ],
)
def test_a_token_that_is_missing_is_told_from_one_that_is_refused(
    run: Run[list[Probed]], answer: bytes, token: Callable[[], str], cause: str
) -> None:
    script = ScriptedRelay({"AUTH": answer}, offers=OAUTH)
    found = run(tried(script, user="ana@demo.example", token=token))
    assert failed_at(found) == ("auth", cause)
    assert "geheim" not in of(found, ProbeStep.AUTH).said


def test_a_relay_that_knows_no_tokens_is_not_given_one(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay(offers=("AUTH PLAIN",))
    assert failed_at(run(tried(script, user="ana", token=lambda: "t"))) == ("auth", "no_auth")
    assert "AUTH" not in script.verbs()


def test_a_password_in_clear_is_a_warning(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay({"AUTH": b"235 2.7.0 In\r\n"}, offers=("AUTH PLAIN",))
    auth = of(run(tried(script, user="ana", password="geheim")), ProbeStep.AUTH)
    assert (auth.state, auth.cause) == ("warning", "in_clear")


def test_a_server_that_repeats_the_password_does_not_get_it_shown(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay(
        {"AUTH": lambda line: b"535 5.7.8 no: geheim or %b?\r\n" % line}, offers=("AUTH PLAIN",)
    )
    said = of(run(tried(script, user="ana", password="geheim")), ProbeStep.AUTH).said
    assert "geheim" not in said
    assert base64.b64encode(b"\0ana\0geheim").decode() not in said
    assert said.startswith("535 5.7.8 no: …")


def test_what_is_no_mail_server_shows_one_clean_line_of_at_most_200_characters(
    run: Run[list[Probed]],
) -> None:
    script = ScriptedRelay({"GREETING": b"HTTP/1.1 400 \x1b[31m\x00" + b"<b>" * 500 + b"\r\nsecret: 1\r\n"})
    greeting = of(run(tried(script)), ProbeStep.GREETING)
    assert greeting.cause == "not_smtp"
    assert len(greeting.said) <= 200
    assert greeting.said.isprintable()
    assert "secret" not in greeting.said


def test_an_address_that_would_break_the_command_is_never_written(run: Run[list[Probed]]) -> None:
    script = ScriptedRelay()
    found = run(tried(script, reverse_path="a@b.example>\r\nDATA"))
    assert failed_at(found) == ("mail", "address_unusable")
    assert script.verbs() == ["EHLO", "RSET", "QUIT"]


@given(st.sampled_from(ProbeStep), st.integers(0, 599), st.text(max_size=60))
def test_every_refusal_has_a_cause(step: ProbeStep, code: int, text: str) -> None:
    failure = RelayUnreachable("x", step=str(step), reply=Reply(code, None, text))
    assert cause_of(step, failure) is not Cause.NONE
