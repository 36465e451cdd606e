"""Every way to log in × every encryption × checked or not, against servers that are not ours.

Against aiosmtpd in this process it belongs to the fast tests, against Postfix to the journeys. Postfix takes
no part in user names and passwords: it would need a SASL daemon beside it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from postroom.outgoing import relays
from postroom.outgoing.models import MailServer
from postroom.smtp.client import Relay, RelayUnreachable, transmit
from postroom.wire.reply import Reply
from tests.journeys.private_postfix import MASTER, POSTFIX, PrivatePostfix, private_postfix
from tests.smtp.authority import Authority, Certified
from tests.smtp.scripted import PATIENT, ScriptedRelay, mail

CHECKED, UNKNOWN, UNCHECKED = "checked", "unknown authority", "unchecked"
ENCRYPTED = [
    (encryption, trust) for encryption in ("starttls", "tls") for trust in (CHECKED, UNKNOWN, UNCHECKED)
]
WAYS = [
    (login, encryption, trust)
    for login in ("none", "PLAIN", "LOGIN", "certificate", "XOAUTH2")
    for encryption, trust in [("none", CHECKED), *ENCRYPTED]
    if (login, encryption) != ("certificate", "none")
]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certified:
    return authority.of_client("postroom.example")


@pytest.fixture(autouse=True)
def _trusting(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts this authority, as it would trust a public one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path)))


def relay_for(port: int, login: str, encryption: str, trust: str, ours: Certified) -> Relay:
    """What the settings of an outgoing server make of it."""
    authentication = {"certificate": "certificate", "XOAUTH2": "xoauth2"}.get(login, "login")
    server = MailServer(
        workspace_id=1,
        host="127.0.0.1",
        port=port,
        encryption=encryption,
        is_certificate_checked=trust != UNCHECKED,
        authentication=authentication,
        user="ana" if login in ("PLAIN", "LOGIN", "XOAUTH2") else "",
        password="pa ss" if login in ("PLAIN", "LOGIN") else "",
        client_certificate=ours.certificate,
        client_key=ours.key,
    )
    relay = relays.relay_of(server)
    assert relay is not None
    return replace(relay, token=lambda: "t0ken") if relay.token else relay


class Door:
    """What the played server saw."""

    def __init__(self) -> None:
        self.logins: list[tuple[str, bytes, bytes]] = []
        self.certificates: list[Any] = []
        self.count = 0
        self.visits: list[SMTP] = []

    def open(self, **settings: Any) -> SMTP:
        self.visits.append(SMTP(self, **settings))
        return self.visits[-1]

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd)
        self.count += 1
        peer = server.transport.get_extra_info("peercert") if server.transport else None
        self.certificates.append(peer)
        return "250 2.0.0 Ok: queued as A1"

    def authenticate(
        self, server: SMTP, session: Any, envelope: Any, mechanism: str, given: Any
    ) -> AuthResult:
        self.logins.append((mechanism, given.login, given.password))
        return AuthResult(success=(given.login, given.password) == (b"ana", b"pa ss"))


@asynccontextmanager
async def played(
    authority: Authority, folder: Path, login: str, encryption: str, trust: str
) -> AsyncIterator[tuple[int, Door]]:
    """aiosmtpd that insists on this way to log in."""
    signing = Authority("Nobody's authority") if trust == UNKNOWN else authority
    context = signing.asking_clients(folder) if login == "certificate" else signing.server_side(folder)
    if trust == UNKNOWN:
        context.load_verify_locations(cadata=authority.certificate)
    door, is_named = Door(), login in ("PLAIN", "LOGIN")
    make = partial(
        door.open,
        hostname="relay.example",
        tls_context=context if encryption == "starttls" else None,
        require_starttls=encryption == "starttls",
        auth_required=is_named,
        auth_require_tls=False,
        authenticator=door.authenticate if is_named else None,
        auth_exclude_mechanism=[each for each in ("PLAIN", "LOGIN") if each != login],
    )
    implicit = context if encryption == "tls" else None
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=implicit)
    try:
        yield server.sockets[0].getsockname()[1], door
    finally:
        server.close()
        for visit in door.visits:
            if visit.transport is not None:
                visit.transport.close()
        await asyncio.sleep(0.02)


async def sent_to_aiosmtpd(
    authority: Authority, folder: Path, way: tuple[str, str, str], ours: Certified
) -> Door:
    async with played(authority, folder, *way) as (port, door):
        reply = await transmit(mail(), relay_for(port, *way, ours), PATIENT)
        assert reply.code == 250
    return door


async def sent_by_token(
    authority: Authority, folder: Path, way: tuple[str, str, str], ours: Certified
) -> Reply:
    """aiosmtpd knows no XOAUTH2."""
    _, encryption, trust = way
    signing = Authority("Nobody's authority") if trust == UNKNOWN else authority
    offers = ("AUTH XOAUTH2", *(("STARTTLS",) if encryption == "starttls" else ()))
    script = ScriptedRelay({"AUTH": b"235 2.7.0 In\r\n"}, tls=signing.server_side(folder), offers=offers)
    async with script.serve(implicit_tls=encryption == "tls"):
        reply = await transmit(mail(), relay_for(script.port, *way, ours), PATIENT)
    assert any(line.startswith(b"AUTH XOAUTH2 ") for line in script.lines)
    return reply


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(way))
def test_mail_leaves_every_way_that_holds_and_no_other(
    authority: Authority, tmp_path: Path, ours: Certified, way: tuple[str, str, str]
) -> None:
    send = sent_by_token if way[0] == "XOAUTH2" else sent_to_aiosmtpd
    story = send(authority, tmp_path, way, ours)
    if way[2] == UNKNOWN:
        with pytest.raises(RelayUnreachable) as caught:
            asyncio.run(asyncio.wait_for(story, 20))
        assert (caught.value.step, caught.value.is_permanent) == ("tls", True)
        return
    seen = asyncio.run(asyncio.wait_for(story, 20))
    if isinstance(seen, Door):
        assert seen.count == 1
        assert [login for login, _, _ in seen.logins] == ([way[0]] if way[0] in ("PLAIN", "LOGIN") else [])
        assert bool(seen.certificates[0]) is (way[0] == "certificate")


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_a_server_that_wants_a_certificate_takes_no_mail_without(
    authority: Authority, tmp_path: Path, ours: Certified, encryption: str
) -> None:
    async def story() -> Door:
        async with played(authority, tmp_path, "certificate", encryption, CHECKED) as (port, door):
            with pytest.raises(RelayUnreachable):
                await transmit(mail(), relay_for(port, "none", encryption, CHECKED, ours), PATIENT)
            return door

    assert asyncio.run(asyncio.wait_for(story(), 20)).count == 0


# Postfix.

needs_postfix = pytest.mark.skipif(
    MASTER is None or POSTFIX is None or os.geteuid() != 0,
    reason="Postfix starts as root only, and it has to be there: apt-get install postfix",
)


@pytest.fixture(scope="module")
def postfix(authority: Authority) -> Iterator[PrivatePostfix]:
    with private_postfix(authority) as running:
        yield running


@pytest.fixture(scope="module")
def strict_postfix(authority: Authority) -> Iterator[PrivatePostfix]:
    """Who shows no certificate of the authority may not even say MAIL."""
    settings = {"smtpd_tls_req_ccert": "yes", "smtpd_tls_security_level": "encrypt"}
    with private_postfix(authority, **settings) as running:
        yield running


def sent_to(postfix: PrivatePostfix, way: tuple[str, str, str], ours: Certified) -> Reply:
    port = postfix.tls_port if way[1] == "tls" else postfix.plain_port
    return asyncio.run(asyncio.wait_for(transmit(mail(), relay_for(port, *way, ours), PATIENT), 30))


def was_turned_away(postfix: PrivatePostfix, way: tuple[str, str, str], ours: Certified) -> bool:
    """Refused by a reply, or during the handshake."""
    try:
        return sent_to(postfix, way, ours).code >= 400
    except RelayUnreachable:
        return True


@pytest.mark.journey
@needs_postfix
@pytest.mark.parametrize("trust", [CHECKED, UNCHECKED])
@pytest.mark.parametrize("encryption", ["none", "starttls", "tls"])
def test_postfix_takes_mail(postfix: PrivatePostfix, ours: Certified, encryption: str, trust: str) -> None:
    reply = sent_to(postfix, ("none", encryption, trust), ours)
    assert (reply.code, str(reply.enhanced)) == (250, "2.0.0")


@pytest.mark.journey
@needs_postfix
@pytest.mark.parametrize("trust", [CHECKED, UNCHECKED])
@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_postfix_takes_mail_for_a_client_certificate_alone(
    strict_postfix: PrivatePostfix, ours: Certified, encryption: str, trust: str
) -> None:
    assert sent_to(strict_postfix, ("certificate", encryption, trust), ours).code == 250
    assert was_turned_away(strict_postfix, ("none", encryption, trust), ours)


@pytest.mark.journey
@needs_postfix
def test_postfix_under_a_certificate_nobody_vouches_for_gets_nothing(
    postfix: PrivatePostfix, ours: Certified, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority("Another").write(tmp_path)))
    with pytest.raises(RelayUnreachable) as caught:
        sent_to(postfix, ("none", "starttls", CHECKED), ours)
    assert (caught.value.step, caught.value.is_permanent) == ("tls", True)


@pytest.mark.journey
@needs_postfix
def test_a_mail_larger_than_postfix_announces_stays_here(postfix: PrivatePostfix, ours: Certified) -> None:
    relay = relay_for(postfix.plain_port, "none", "starttls", CHECKED, ours)
    large = mail(content=b"Subject: x\r\n\r\n" + b"a" * 70 * 200_000)
    reply = asyncio.run(asyncio.wait_for(transmit(large, relay, PATIENT), 30))
    assert (reply.code, str(reply.enhanced)) == (552, "5.3.4")
    assert "10240000 at most" in reply.text
