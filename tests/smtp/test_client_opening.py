"""Getting in: greeting, EHLO, TLS and AUTH, and the words when one of them fails."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.smtp.client import Connections, Relay, RelayUnreachable, Security
from postroom.smtp.errors import OutOfReach
from postroom.wire.reply import Outcome
from tests.smtp.conftest import Run
from tests.smtp.scripted import BRIEF, PATIENT, Act, Answers, Pigeonhole, ScriptedRelay, deliver, mail, mails


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, made anew, with its key."""
    path = tmp_path_factory.mktemp("tls") / "relay.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=relay.example", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*made, *names, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True
    )
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def failure_of(
    script: ScriptedRelay,
    security: Security = Security.NONE,
    *,
    implicit_tls: bool = False,
    **settings: object,
) -> RelayUnreachable:
    hole = Pigeonhole(mails(2))
    async with script.serve(implicit_tls=implicit_tls):
        relay = script.relay(security, **settings)
        connections = Connections(relay, hole, hole, timeouts=BRIEF)
        with pytest.raises(RelayUnreachable) as caught:
            await connections.start()
        await connections.close()
    assert hole.outcomes == {}
    assert len(hole.mails) == 2
    return caught.value


@pytest.mark.parametrize(
    ("answers", "step", "code", "is_permanent"),
    [
        ({"GREETING": b"554 5.7.1 Not you\r\n"}, "greeting", 554, True),
        ({"GREETING": b"421 4.3.2 Later\r\n"}, "greeting", 421, False),
        ({"GREETING": b"SSH-2.0-x\r\n"}, "greeting", 0, False),
        ({"GREETING": Act.CLOSE}, "greeting", None, False),
        ({"GREETING": Act.SILENCE}, "greeting", None, False),
        ({"EHLO": b"421 4.3.2 Later\r\n"}, "ehlo", 421, False),
        ({"EHLO": Act.RESET}, "ehlo", None, False),
        ({"EHLO": b"502 no\r\n", "HELO": b"550 5.7.1 no\r\n"}, "ehlo", 550, True),
    ],
)
def test_a_relay_that_does_not_let_us_in_gets_nothing(
    run: Run[RelayUnreachable], answers: Answers, step: str, code: int | None, is_permanent: bool
) -> None:
    failure = run(failure_of(ScriptedRelay(answers)))
    assert failure.step == step
    assert (failure.reply.code if failure.reply else None) == code
    assert failure.is_permanent is is_permanent


def test_an_old_relay_is_greeted_with_helo(run: Run[Pigeonhole]) -> None:
    script = ScriptedRelay({"EHLO": b"502 5.5.1 What?\r\n", "HELO": b"250 relay.example\r\n"})
    assert run(deliver(script, mails(2))).kinds() == [Outcome.ACCEPTED] * 2
    assert script.lines[:2] == [b"EHLO postroom.example", b"HELO postroom.example"]


def test_a_host_out_of_reach_is_not_connected_to(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay()
    failure = run(failure_of(script, may_reach=lambda *_: False))
    assert isinstance(failure, OutOfReach)
    assert failure.is_permanent
    assert script.visits == []


def test_the_connection_goes_to_the_address_that_was_checked(
    run: Run[Pigeonhole], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name means another host whenever it is asked for again; of two addresses one is out of reach."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **more: Any) -> Any:
        if host != "rebound.example":
            return real(host, port, *args, **more)
        asked.append(host)
        meant = ["127.0.0.66", "127.0.0.1"] if len(asked) == 1 else ["127.0.0.66"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in meant]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    script = ScriptedRelay()

    async def story() -> Pigeonhole:
        async with script.serve():
            hole = Pigeonhole(mails(1))
            relay = replace(
                script.relay(), host="rebound.example", may_reach=lambda address, _: address == "127.0.0.1"
            )
            connections = Connections(relay, hole, hole, timeouts=BRIEF)
            await connections.start()
            await connections.drained()
            await connections.close()
            return hole

    assert run(story()).kinds() == [Outcome.ACCEPTED]
    assert asked == ["rebound.example"]


def test_a_host_that_does_not_exist_is_a_permanent_dns_failure(run: Run[None]) -> None:
    async def scenario() -> None:
        relay = Relay(host="no_such_host.invalid", port=25)
        with pytest.raises(RelayUnreachable) as caught:
            await Connections(relay, Pigeonhole(), Pigeonhole(), timeouts=PATIENT).start()
        assert caught.value.step == "dns"

    run(scenario())


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_mail_goes_over_tls(run: Run[None], certificate: Path, security: Security) -> None:
    async def scenario() -> None:
        script = ScriptedRelay(tls=server_side(certificate), offers=("PIPELINING", "STARTTLS"))
        trusting = ssl.create_default_context(cafile=str(certificate.with_suffix(".crt")))
        hole = Pigeonhole(mails(20))
        async with script.serve(implicit_tls=security is Security.TLS):
            relay = script.relay(security, tls_context=trusting)
            connections = Connections(relay, hole, hole, limit=2, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            await connections.close()
        assert hole.kinds() == [Outcome.ACCEPTED] * 20
        assert all(settled.was_tls for settled in hole.outcomes.values())
        assert script.contents[0] == b"Subject: x\r\n\r\nHello\r\n"

    run(scenario())


def test_a_certificate_nobody_vouches_for_is_refused_unless_told_otherwise(
    run: Run[RelayUnreachable], certificate: Path
) -> None:
    script = ScriptedRelay(tls=server_side(certificate), offers=("STARTTLS",))
    failure = run(failure_of(script, Security.STARTTLS))
    assert (failure.step, failure.is_permanent) == ("tls", True)
    assert "self-signed" in str(failure)


def test_without_verification_any_certificate_will_do(run: Run[None], certificate: Path) -> None:
    async def scenario() -> None:
        script = ScriptedRelay(tls=server_side(certificate), offers=("STARTTLS",))
        hole = Pigeonhole(mails(1))
        async with script.serve():
            relay = script.relay(Security.STARTTLS, verify_certificate=False)
            connections = Connections(relay, hole, hole, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            await connections.close()
        assert hole.outcomes[1].was_tls

    run(scenario())


def test_a_relay_whose_starttls_was_stripped_gets_nothing_in_clear(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay(offers=("PIPELINING", "AUTH PLAIN"))
    failure = run(failure_of(script, Security.STARTTLS, user="ana", password="secret"))
    assert (failure.step, failure.is_permanent) == ("tls", True)
    assert script.verbs() == ["EHLO"]


@pytest.mark.parametrize("injected", [b"250 2.0.0 Injected\r\n", b"250-partial", b"250-AUTH PLAIN\r\n"])
def test_replies_injected_before_tls_end_the_connection(
    run: Run[RelayUnreachable], certificate: Path, injected: bytes
) -> None:
    answers: Answers = {"STARTTLS": (b"220 2.0.0 Ready\r\n" + injected, Act.STARTTLS)}
    script = ScriptedRelay(answers, tls=server_side(certificate), offers=("STARTTLS",))
    assert run(failure_of(script, Security.STARTTLS, verify_certificate=False)).step == "tls"
    assert script.verbs() == ["EHLO", "STARTTLS"]


def test_a_relay_that_hangs_up_in_the_handshake_is_unreachable(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay({"STARTTLS": (b"220 Ready\r\n", Act.CLOSE)}, offers=("STARTTLS",))
    failure = run(failure_of(script, Security.STARTTLS))
    assert (failure.step, failure.is_permanent) == ("tls", False)


def test_a_plain_port_is_not_mistaken_for_a_tls_port(run: Run[RelayUnreachable]) -> None:
    script = ScriptedRelay({"\x16\x03\x01": Act.CLOSE})
    assert run(failure_of(script, Security.TLS)).step == "tls"


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        ("AUTH PLAIN LOGIN", [b"AUTH PLAIN " + base64.b64encode(b"\0ana\0pa ss")]),
        ("AUTH=PLAIN", [b"AUTH PLAIN " + base64.b64encode(b"\0ana\0pa ss")]),
        ("AUTH LOGIN", [b"AUTH LOGIN", base64.b64encode(b"ana"), base64.b64encode(b"pa ss")]),
    ],
)
def test_credentials_are_given_the_way_the_relay_asks(
    run: Run[Pigeonhole], offer: str, expected: list[bytes]
) -> None:
    user, password = (base64.b64encode(each).decode().upper() for each in (b"ana", b"pa ss"))
    script = ScriptedRelay(offers=(offer,))
    script.answers = {
        "AUTH": lambda line: b"235 2.7.0 In\r\n" if b"PLAIN" in line else b"334 VXNlcm5hbWU6\r\n",
        user: b"334 UGFzc3dvcmQ6\r\n",
        password: b"235 2.7.0 In\r\n",
    }

    async def scenario() -> Pigeonhole:
        hole = Pigeonhole([mail()])
        async with script.serve():
            relay = script.relay(user="ana", password="pa ss")
            connections = Connections(relay, hole, hole, timeouts=PATIENT)
            await connections.start()
            await connections.drained()
            await connections.close()
        return hole

    assert run(scenario()).kinds() == [Outcome.ACCEPTED]
    assert script.lines[1 : 1 + len(expected)] == expected


@pytest.mark.parametrize(("code", "is_permanent"), [(535, True), (454, False)])
def test_a_wrong_password_is_told_without_repeating_it(
    run: Run[RelayUnreachable], code: int, is_permanent: bool
) -> None:
    script = ScriptedRelay({"AUTH": b"%d 5.7.8 Wrong\r\n" % code}, offers=("AUTH PLAIN",))
    failure = run(failure_of(script, user="ana", password="hunter2"))
    assert (failure.step, failure.is_permanent) == ("auth", is_permanent)
    assert "hunter2" not in str(failure) + repr(script.relay(user="ana", password="hunter2"))


def test_a_relay_without_auth_does_not_get_mail_meant_for_one_with_it(run: Run[RelayUnreachable]) -> None:
    failure = run(failure_of(ScriptedRelay(), user="ana", password="hunter2"))
    assert (failure.step, failure.is_permanent) == ("auth", True)
