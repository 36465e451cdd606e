"""Trying a relay step by step, up to the point where a mail would be handed over, and never beyond."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from postroom.smtp.connection import Connection
from postroom.smtp.errors import NoToken, OutOfReach, RelayUnreachable
from postroom.smtp.mail import MailObject, Settled
from postroom.smtp.opening import NO_SUCH_HOST, Opening, addresses_of, connected
from postroom.smtp.relay import Relay, Security, Timeouts
from postroom.smtp.scrubbing import secrets_of, without, without_base64
from postroom.wire.characters import one_line
from postroom.wire.reply import Reply

PROBE_TIMEOUTS = Timeouts(connect=10, greeting=10, command=10, tls=10, quit=2)
EXPIRES_SOON = timedelta(days=14)
SAID_CHARACTERS = 200
_RELAYING = re.compile(r"\brelay(?:ing)?\b.*\b(?:denied|not|prohibited)\b|\bnot\b.*\brelay\b", re.IGNORECASE)
_ERRNO = re.compile(r"\[Errno (\d+)\]")


class ProbeStep(StrEnum):
    """What is tried. With implicit TLS the handshake comes before the greeting."""

    DNS = "dns"
    CONNECT = "connect"
    GREETING = "greeting"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"


class ProbeState(StrEnum):
    """How a step ended. After one that failed the others are skipped; a warning stops nothing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Cause(StrEnum):
    """Why a step did not end well, or was skipped; empty if there is nothing to say."""

    NONE = ""
    NOT_REACHED = "not_reached"
    NOT_ASKED_FOR = "not_asked_for"
    UNKNOWN_HOST = "unknown_host"
    NO_NAME_SERVER = "no_name_server"
    CONNECTION_REFUSED = "connection_refused"
    NO_ROUTE = "no_route"
    OUT_OF_REACH = "out_of_reach"
    TIMED_OUT = "timed_out"
    HUNG_UP = "hung_up"
    NETWORK = "network"
    NOT_SMTP = "not_smtp"
    BUSY = "busy"
    TURNED_AWAY = "turned_away"
    NO_STARTTLS = "no_starttls"
    STARTTLS_REFUSED = "starttls_refused"
    NOT_TLS = "not_tls"
    TLS_PROTOCOL = "tls_protocol"
    TLS_SETTINGS = "tls_settings"
    CERTIFICATE_WANTED = "certificate_wanted"
    UNTRUSTED = "untrusted"
    WRONG_NAME = "wrong_name"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRES_SOON = "expires_soon"
    UNCHECKED = "unchecked"
    NO_AUTH = "no_auth"
    IN_CLEAR = "in_clear"
    NEEDS_TLS = "needs_tls"
    WRONG_PASSWORD = "wrong_password"
    APP_PASSWORD = "app_password"
    NO_TOKEN = "no_token"
    TOKEN_REFUSED = "token_refused"
    AUTH_REQUIRED = "auth_required"
    AUTH_REFUSED = "auth_refused"
    ADDRESS_UNUSABLE = "address_unusable"
    SENDER_REFUSED = "sender_refused"
    RELAY_DENIED = "relay_denied"
    RECIPIENT_REFUSED = "recipient_refused"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server showed: names as RFC 4514 writes them, and until when it holds."""

    subject: str
    issuer: str
    expires_at: datetime
    tls_version: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What one step found.

    `said` is one line of at most 200 characters: the server's own words, or the system's. `addresses` belong
    to the step dns, `certificate` to the step tls. `seconds` is how long the step took.
    """

    step: ProbeStep
    state: ProbeState
    cause: Cause = Cause.NONE
    said: str = ""
    seconds: float = 0.0
    addresses: tuple[str, ...] = ()
    certificate: Certificate | None = None


async def probe(
    relay: Relay, *, reverse_path: str, forward_path: str, now: datetime, timeouts: Timeouts = PROBE_TIMEOUTS
) -> list[Probed]:
    """Try a relay up to RCPT TO, take it back with RSET and leave with QUIT; return what each step found.

    DATA is never said, so nothing is sent. Nothing is raised: a step that fails says why in its `cause`, and
    the steps after it are skipped. A certificate that expires within 14 days of `now` is a warning.
    """
    probing = _Probing(relay, MailObject(0, reverse_path.encode(), forward_path.encode(), b""), now, timeouts)
    try:
        return await probing.run()
    finally:
        await probing.leave()


class _Nobody:
    """The owner of a connection that is never started: there is no mail to take or to settle."""

    def take(self) -> MailObject | None:
        return None

    def begun(self, key: int) -> bool:
        return False

    def replied(self, key: int, reply: Reply) -> None: ...
    def settle(self, settled: Settled) -> None: ...
    def rested(self) -> None: ...
    def lost(self, connection: Connection, left: MailObject | None) -> None: ...


class _Probing:
    """One relay being tried."""

    opening: Opening | None = None
    is_broken = False

    def __init__(self, relay: Relay, mail: MailObject, now: datetime, timeouts: Timeouts) -> None:
        self.relay = relay
        self.mail = mail
        self.now = now
        self.timeouts = timeouts
        self.found: list[Probed] = []

    async def run(self) -> list[Probed]:
        for step in self._order():
            if any(found.state is ProbeState.FAILED for found in self.found):
                self.found.append(Probed(step, ProbeState.SKIPPED, Cause.NOT_REACHED))
            else:
                self.found.append(await self._taken(step))
        return self.found

    def _order(self) -> Sequence[ProbeStep]:
        dns, connect, greeting, tls, *rest = ProbeStep
        if self.relay.security is Security.TLS:
            return [dns, connect, tls, greeting, *rest]
        return [dns, connect, greeting, tls, *rest]

    async def _taken(self, step: ProbeStep) -> Probed:
        takes: dict[ProbeStep, Callable[[], Awaitable[Probed]]] = {
            ProbeStep.DNS: self.dns,
            ProbeStep.CONNECT: self.connect,
            ProbeStep.GREETING: self.greeting,
            ProbeStep.TLS: self.tls,
            ProbeStep.AUTH: self.auth,
            ProbeStep.MAIL: self.sender,
            ProbeStep.RCPT: self.recipient,
        }
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            found = await takes[step]()
        except RelayUnreachable as failure:
            self.is_broken = failure.__cause__ is not None
            found = _failed(step, cause_of(step, failure), _words_of(failure))
        if step is ProbeStep.AUTH:
            found = replace(found, said=without_base64(found.said))
        return replace(found, said=self._clean(found.said), seconds=clock() - started)

    def _clean(self, said: str) -> str:
        """One short line, without the password should the server repeat it."""
        return one_line(without(said, secrets_of(self.relay)))[:SAID_CHARACTERS]

    async def dns(self) -> Probed:
        """Resolve the host name as connecting does."""
        if not self.relay.host:
            return _failed(ProbeStep.DNS, Cause.UNKNOWN_HOST)
        try:
            async with asyncio.timeout(self.timeouts.connect):
                addresses = tuple(await addresses_of(self.relay))
        except (OSError, UnicodeError) as error:  # UnicodeError: no host can be called this
            return _failed(ProbeStep.DNS, _cause_of_dns(error), getattr(error, "strerror", "") or "")
        return Probed(ProbeStep.DNS, ProbeState.OK, said=", ".join(addresses), addresses=addresses)

    async def connect(self) -> Probed:
        connection = await connected(self.relay, _Nobody(), self.timeouts)
        self.opening = Opening(connection, self.relay, self.timeouts, None)
        peer = connection.transport.get_extra_info("peername") or ("", "")
        return Probed(ProbeStep.CONNECT, ProbeState.OK, said=f"{peer[0]} {peer[1]}")

    async def greeting(self) -> Probed:
        _, lines = await self._open.ask("greeting", b"", wants=(220,))
        await self._open.ehlo()
        return Probed(ProbeStep.GREETING, ProbeState.OK, said=str(Reply.parse(lines)))

    async def tls(self) -> Probed:
        """Shake hands as the settings say, and look at the certificate."""
        if self.relay.security is Security.NONE:
            return Probed(ProbeStep.TLS, ProbeState.SKIPPED, Cause.NOT_ASKED_FOR)
        try:
            self._open.context = self.relay.context()
        except (ssl.SSLError, ValueError, OSError) as error:  # a client certificate that is none, or its key
            return _failed(ProbeStep.TLS, Cause.TLS_SETTINGS, str(error))
        if self.relay.security is Security.STARTTLS:
            await self._open.upgrade()
            await self._open.ehlo()
        else:
            await self._start_tls()
        return self._look_at_certificate()

    async def _start_tls(self) -> None:
        """Shake hands first of all. A server that greets before that does not expect it."""
        try:
            await self._open.start_tls()
        except RelayUnreachable as failure:
            greeted = self._open.connection.asked
            if failure.is_permanent or not greeted.done() or greeted.exception() is not None:
                raise
            raise RelayUnreachable(step="tls", reply=Reply.parse(greeted.result()[1])) from failure

    def _look_at_certificate(self) -> Probed:
        tls = self._open.connection.transport.get_extra_info("ssl_object")
        try:
            shown = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
            names = shown.subject.rfc4514_string(), shown.issuer.rfc4514_string()
            certificate = Certificate(*names, shown.not_valid_after_utc, tls.version() or "")
        except Exception as error:  # whoever shows one that nobody can read may have written anything into it
            return Probed(ProbeStep.TLS, ProbeState.WARNING, Cause.UNCHECKED, type(error).__name__)
        cause = self._objection_to(certificate)
        state = ProbeState.WARNING if cause else ProbeState.OK
        return Probed(ProbeStep.TLS, state, cause, certificate.subject, certificate=certificate)

    def _objection_to(self, certificate: Certificate) -> Cause:
        if not self.relay.verify_certificate:
            return Cause.UNCHECKED
        return Cause.EXPIRES_SOON if certificate.expires_at - self.now < EXPIRES_SOON else Cause.NONE

    async def auth(self) -> Probed:
        token = self.relay.token
        if not self.relay.user and token is None:
            return Probed(ProbeStep.AUTH, ProbeState.SKIPPED, Cause.NOT_ASKED_FOR)
        try:
            await self._open.auth()
        except NoToken as failure:
            return _failed(ProbeStep.AUTH, Cause.NO_TOKEN, str(failure))
        except RelayUnreachable as failure:
            if token is None or cause_of(ProbeStep.AUTH, failure) is not Cause.WRONG_PASSWORD:
                raise
            return _failed(ProbeStep.AUTH, Cause.TOKEN_REFUSED, _words_of(failure))
        if not self._open.connection.is_tls:
            return Probed(ProbeStep.AUTH, ProbeState.WARNING, Cause.IN_CLEAR)
        return Probed(ProbeStep.AUTH, ProbeState.OK)

    async def sender(self) -> Probed:
        objection = self._open.connection.offers.objection(self.mail)
        if objection is not None:
            return _failed(ProbeStep.MAIL, Cause.ADDRESS_UNUSABLE, str(objection))
        command = b"MAIL FROM:<%b>%b\r\n" % (self.mail.reverse_path, self._parameters())
        _, lines = await self._open.ask("mail", command, wants=(250,))
        return Probed(ProbeStep.MAIL, ProbeState.OK, said=str(Reply.parse(lines)))

    def _parameters(self) -> bytes:
        is_wide = not (self.mail.reverse_path + self.mail.forward_path).isascii()
        return b" SMTPUTF8" if is_wide else b""

    async def recipient(self) -> Probed:
        command = b"RCPT TO:<%b>\r\n" % self.mail.forward_path
        _, lines = await self._open.ask("rcpt", command, wants=(250, 251, 252))
        return Probed(ProbeStep.RCPT, ProbeState.OK, said=str(Reply.parse(lines)))

    @property
    def _open(self) -> Opening:
        assert self.opening is not None
        return self.opening

    async def leave(self) -> None:
        """Take the envelope back and go, without waiting long for an answer."""
        if self.opening is None:
            return
        connection = self.opening.connection
        try:
            async with asyncio.timeout(self.timeouts.quit):
                for command in () if self.is_broken else (b"RSET\r\n", b"QUIT\r\n"):
                    await connection.reply(command)
        except OSError:
            pass  # it has hung up already, or does not answer: there is nothing left to take back
        finally:
            connection.abort()


def _failed(step: ProbeStep, cause: Cause, said: str = "") -> Probed:
    return Probed(step, ProbeState.FAILED, cause, said)


def _words_of(failure: RelayUnreachable) -> str:
    """What the server said, else what the system says; never our own sentence about it."""
    if failure.reply is not None:
        return str(failure.reply)
    error = failure.__cause__
    return str(getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error or "")


def cause_of(step: ProbeStep, failure: RelayUnreachable) -> Cause:
    """Why a step failed, told from the reply, else from the error behind the failure."""
    if isinstance(failure, OutOfReach):
        return Cause.OUT_OF_REACH
    if failure.reply is not None:
        return _cause_of_reply(step, failure.reply)
    error = failure.__cause__
    if isinstance(error, ssl.SSLError):
        return _cause_of_tls(error)
    if isinstance(error, socket.gaierror):
        return _cause_of_dns(error)
    if isinstance(error, OSError):
        return _cause_of_network(step, error)
    if failure.is_permanent:  # it was not asked, because it does not offer what the settings insist on
        return Cause.NO_AUTH if step is ProbeStep.AUTH else Cause.NO_STARTTLS
    return Cause.HUNG_UP


def _cause_of_dns(error: Exception) -> Cause:
    if isinstance(error, UnicodeError):
        return Cause.UNKNOWN_HOST
    is_unknown = isinstance(error, socket.gaierror) and error.errno in NO_SUCH_HOST
    return Cause.UNKNOWN_HOST if is_unknown else Cause.NO_NAME_SERVER


def _cause_of_network(step: ProbeStep, error: OSError) -> Cause:
    """asyncio joins the errors of several addresses into one text without a number of its own."""
    numbers = {error.errno} if error.errno else {int(number) for number in _ERRNO.findall(str(error))}
    is_handshake_over = step is ProbeStep.TLS and isinstance(error, ConnectionAbortedError)
    if isinstance(error, TimeoutError) or errno.ETIMEDOUT in numbers or is_handshake_over:
        return Cause.TIMED_OUT
    if errno.ECONNREFUSED in numbers:
        return Cause.CONNECTION_REFUSED
    if numbers & {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}:
        return Cause.NO_ROUTE
    return Cause.HUNG_UP if isinstance(error, ConnectionError) else Cause.NETWORK


# OpenSSL's X509_V_ERR_…: not yet valid, expired, another host name, another IP address.
_VERIFY_CAUSES = {9: Cause.NOT_YET_VALID, 10: Cause.EXPIRED, 62: Cause.WRONG_NAME, 64: Cause.WRONG_NAME}
_REASON_CAUSES = {
    "WRONG_VERSION_NUMBER": Cause.NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": Cause.NOT_TLS,
    "RECORD_LAYER_FAILURE": Cause.NOT_TLS,
    "UNEXPECTED_EOF_WHILE_READING": Cause.HUNG_UP,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Cause.CERTIFICATE_WANTED,
}


def _cause_of_tls(error: ssl.SSLError) -> Cause:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CAUSES.get(error.verify_code, Cause.UNTRUSTED)
    return _REASON_CAUSES.get(error.reason or "", Cause.TLS_PROTOCOL)


_REPLY_CAUSES = {
    ProbeStep.GREETING: Cause.TURNED_AWAY,
    ProbeStep.TLS: Cause.STARTTLS_REFUSED,
    ProbeStep.AUTH: Cause.AUTH_REFUSED,
    ProbeStep.MAIL: Cause.SENDER_REFUSED,
    ProbeStep.RCPT: Cause.RECIPIENT_REFUSED,
}
# RFC 4954 §6: 530 authentication (or TLS, RFC 3207 §4) is required, 534 too weak, 535 wrong, 538 needs TLS.
_AUTH_CAUSES = {
    530: Cause.NEEDS_TLS,
    534: Cause.APP_PASSWORD,
    535: Cause.WRONG_PASSWORD,
    538: Cause.NEEDS_TLS,
}


def _cause_of_reply(step: ProbeStep, reply: Reply) -> Cause:
    if not reply.code:
        return Cause.NOT_SMTP
    if step is ProbeStep.TLS and reply.code == 220:
        return Cause.NOT_TLS
    if reply.code < 500:
        return Cause.BUSY
    if step is ProbeStep.AUTH:
        return _AUTH_CAUSES.get(reply.code, Cause.AUTH_REFUSED)
    if reply.code == 530 and step in (ProbeStep.MAIL, ProbeStep.RCPT):
        return Cause.NEEDS_TLS if "STARTTLS" in reply.text.upper() else Cause.AUTH_REQUIRED
    if step is ProbeStep.RCPT and _is_relaying_denied(reply):
        return Cause.RELAY_DENIED
    return _REPLY_CAUSES.get(step, Cause.TURNED_AWAY)


def _is_relaying_denied(reply: Reply) -> bool:
    """5.7.1 is a server that passes nothing on for us (RFC 3463 §3.8); older ones only say so."""
    return str(reply.enhanced) == "5.7.1" or _RELAYING.search(reply.text) is not None
