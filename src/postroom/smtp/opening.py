"""The way from a host name to a session that takes mails: connect, greeting, EHLO, TLS, AUTH."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from postroom.smtp.connection import Connection, Owner
from postroom.smtp.errors import OutOfReach, RelayUnreachable
from postroom.smtp.offers import Offers
from postroom.smtp.relay import Relay, Security, Timeouts
from postroom.smtp.replies import parsed
from postroom.smtp.scrubbing import scrubbed, secrets_of, without_base64
from postroom.smtp.tokens import fetched
from postroom.wire.characters import shortened

# Of their own: a name server that hangs must not take the threads that everything else runs in.
_NAMES = ThreadPoolExecutor(16, thread_name_prefix="names")
NO_SUCH_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


async def open_connection(
    relay: Relay, owner: Owner, timeouts: Timeouts, context: ssl.SSLContext | None
) -> Connection:
    """Return a connection that has been let in, ready for `start()`.

    Raises RelayUnreachable with the step it ended at; then nothing was handed over and nothing is left open.
    """
    connection = await connected(relay, owner, timeouts)
    try:
        await Opening(connection, relay, timeouts, context).run()
    except BaseException:
        connection.abort()
        raise
    return connection


async def connected(relay: Relay, owner: Owner, timeouts: Timeouts) -> Connection:
    """Return a connection that nobody has greeted yet. Raises RelayUnreachable (step dns or connect).

    With `may_reach` the connection goes to an address that was allowed; raises OutOfReach if there is none.
    """
    async with _step("connect", timeouts.connect, relay):
        hosts = [relay.host] if relay.may_reach is None else await addresses_of(relay)
        return await _first_of(hosts, relay, owner, timeouts)


async def addresses_of(relay: Relay) -> list[str]:
    """Return the addresses that the relay's host name stands for and that may be connected to.

    Raises OutOfReach if none of them may, OSError or UnicodeError for a name that cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_NAMES, _looked_up, relay.host, relay.port)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    may_reach = relay.may_reach
    if may_reach is None:
        return addresses
    allowed = await loop.run_in_executor(
        _NAMES, lambda: [address for address in addresses if may_reach(address, relay.port)]
    )
    if not allowed:
        raise OutOfReach(
            f"{relay.host}:{relay.port} is in a network that only an operator can open to servers, or "
            "where Postroom or its shared relay is. Nothing was connected to. Name a server in the open "
            "internet, or ask an operator (POSTROOM_PRIVATE_NETWORKS).",
            step="connect",
            is_permanent=True,
        )
    return allowed


def _looked_up(host: str, port: int) -> list[Any]:
    """Runs in a thread, as long as a name server takes."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _first_of(hosts: list[str], relay: Relay, owner: Owner, timeouts: Timeouts) -> Connection:
    """Connect to the first that answers. Raises OSError for the last one if none does."""
    loop = asyncio.get_running_loop()
    for host in hosts[:-1]:
        try:
            return (await loop.create_connection(lambda: Connection(owner, timeouts), host, relay.port))[1]
        except OSError:
            continue  # the next one may answer
    return (await loop.create_connection(lambda: Connection(owner, timeouts), hosts[-1], relay.port))[1]


class Opening:
    """One connection on its way in, step by step; `run` takes all of them.

    Every step raises RelayUnreachable; whoever takes the steps then aborts the connection.
    """

    def __init__(
        self, connection: Connection, relay: Relay, timeouts: Timeouts, context: ssl.SSLContext | None
    ) -> None:
        self.connection = connection
        self.relay = relay
        self.timeouts = timeouts
        self.context = context
        self.secrets = secrets_of(relay)

    async def run(self) -> None:
        if self.relay.security is Security.TLS:
            await self.start_tls()
        await self.ask("greeting", b"", wants=(220,))
        await self.ehlo()
        if self.relay.security is Security.STARTTLS:
            await self.upgrade()
            await self.ehlo()
        if self.relay.user or self.relay.token is not None:
            await self.auth()

    async def ask(self, step: str, command: bytes, *, wants: tuple[int, ...]) -> tuple[int, list[bytes]]:
        """Return the reply if its code is wanted, else raise RelayUnreachable with it."""
        seconds = self.timeouts.command if command else self.timeouts.greeting
        async with _step(step, seconds, self.relay):
            code, lines = await self.connection.reply(command)
        if code not in wants:
            raise self.unwanted(step, code, lines)
        return code, lines

    def unwanted(self, step: str, code: int, lines: list[bytes]) -> RelayUnreachable:
        reply = scrubbed(parsed(lines), self.secrets)
        if step == "auth":
            reply = replace(reply, text=without_base64(reply.text))
        said = f"The relay {self.relay.host} answered {code or 'no SMTP reply'}"
        message = f"{said} at the step {step}: {shortened(reply.text) or 'without a word'}"
        return RelayUnreachable(message, step=step, reply=reply, is_permanent=code >= 500)

    async def ehlo(self) -> None:
        """Say EHLO, and HELO to a relay that does not know it (RFC 5321 §3.2)."""
        name = self.relay.helo.encode("idna" if not self.relay.helo.isascii() else "ascii")
        async with _step("ehlo", self.timeouts.command, self.relay):
            code, lines = await self.connection.reply(b"EHLO %b\r\n" % name)
        if code == 250:
            self.connection.offers = Offers.parse(lines)
        elif code >= 500:
            await self.ask("ehlo", b"HELO %b\r\n" % name, wants=(250,))
        else:
            raise self.unwanted("ehlo", code, lines)

    async def upgrade(self) -> None:
        """Insist on STARTTLS: a relay that does not announce it is refused, never used in clear."""
        if not self.connection.offers.starttls:
            raise RelayUnreachable(
                f"The relay {self.relay.host} does not offer STARTTLS, so nothing was sent in clear. Use its "
                "TLS port (smtps://), or smtp:// if a plain connection is meant.",
                step="tls",
                is_permanent=True,
            )
        await self.ask("tls", b"STARTTLS\r\n", wants=(220,))
        await self.start_tls()

    async def start_tls(self) -> None:
        connection = self.connection
        async with _step("tls", self.timeouts.tls, self.relay):
            connection.check_turn()
            transport = await connection.loop.start_tls(
                connection.transport,
                connection,
                self.context or self.relay.context(),
                server_hostname=self.relay.host,
                ssl_handshake_timeout=self.timeouts.tls,
            )
        if transport is None:
            raise RelayUnreachable("The connection ended during the TLS handshake.", step="tls")
        connection.transport, connection.is_tls = transport, True

    async def auth(self) -> None:
        """Log in with XOAUTH2 if there is a token, else AUTH PLAIN, else LOGIN.

        Neither credentials nor challenges get into a message.
        """
        if self.relay.token is not None:
            return await self.auth_by_token(self.relay.token)
        user, password = self.relay.user.encode(), self.relay.password.encode()
        if "PLAIN" in self.connection.offers.auth:
            secret = base64.b64encode(b"\0" + user + b"\0" + password)
            await self.ask("auth", b"AUTH PLAIN %b\r\n" % secret, wants=(235,))
        elif "LOGIN" in self.connection.offers.auth:
            await self.ask("auth", b"AUTH LOGIN\r\n", wants=(334,))
            await self.ask("auth", base64.b64encode(user) + b"\r\n", wants=(334,))
            await self.ask("auth", base64.b64encode(password) + b"\r\n", wants=(235,))
        else:
            raise RelayUnreachable(
                f"The relay {self.relay.host} offers neither AUTH PLAIN nor AUTH LOGIN here. Many offer "
                "it only under TLS: try smtp+starttls:// or smtps://, or leave user and password out.",
                step="auth",
                is_permanent=True,
            )
        return None

    async def auth_by_token(self, token: Callable[[], str]) -> None:
        """Log in with AUTH XOAUTH2. A refusal comes as a challenge that an empty line answers."""
        if "XOAUTH2" not in self.connection.offers.auth:
            raise RelayUnreachable(
                f"The relay {self.relay.host} does not offer AUTH XOAUTH2 here. Many offer it only under "
                "TLS; else set a user name and a password.",
                step="auth",
                is_permanent=True,
            )
        bearer = await fetched(token)
        self.secrets = (*self.secrets, bearer.decode("ascii"))
        said = b"user=%b\x01auth=Bearer %b\x01\x01" % (self.relay.user.encode(), bearer)
        command = b"AUTH XOAUTH2 %b\r\n" % base64.b64encode(said)
        code, _ = await self.ask("auth", command, wants=(235, 334))
        if code == 334:
            await self.ask("auth", b"\r\n", wants=(235,))


@asynccontextmanager
async def _step(step: str, seconds: float, relay: Relay) -> AsyncIterator[None]:
    """Turn whatever the network may throw in this step into RelayUnreachable, in words for an operator."""
    where = f"{relay.host}:{relay.port}"
    try:
        async with asyncio.timeout(seconds):
            yield
    except ssl.SSLError as error:
        is_permanent = isinstance(error, ssl.SSLCertVerificationError)
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        message = f"TLS with {where} failed: {reason}"
        raise RelayUnreachable(message, step="tls", is_permanent=is_permanent) from error
    except TimeoutError as error:
        message = f"The relay {where} did not answer within {seconds:g} s (step: {step})."
        raise RelayUnreachable(message, step=step) from error
    except socket.gaierror as error:
        is_permanent = error.errno in NO_SUCH_HOST
        message = f"The host name {relay.host} cannot be resolved: {error.strerror}"
        raise RelayUnreachable(message, step="dns", is_permanent=is_permanent) from error
    except OSError as error:
        reason = error.strerror or str(error) or "the server hung up"
        message = f"The connection to {where} failed (step: {step}): {reason}"
        raise RelayUnreachable(message, step=step) from error
