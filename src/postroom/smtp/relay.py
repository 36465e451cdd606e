"""Where mail is handed over: host, security, credentials and how long each answer may take."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit


class Security(StrEnum):
    """How the connection to a relay is protected. There is no "if offered": what is asked for must hold."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


SCHEMES = {
    "smtp": (Security.NONE, 25),
    "smtps": (Security.TLS, 465),
    "smtp+tls": (Security.TLS, 465),
    "smtp+starttls": (Security.STARTTLS, 587),
}
EXAMPLE = "smtp+starttls://user:password@relay.example:587"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds per phase; the defaults are the minimums of RFC 5321 §4.5.3.2 (connect, TLS and QUIT: ours)."""

    connect: float = 30.0
    greeting: float = 300.0
    command: float = 300.0
    tls: float = 60.0
    data: float = 120.0
    block: float = 180.0
    final_dot: float = 600.0
    quit: float = 2.0

    def check_seconds(self) -> float:
        """Return how often a connection compares the clock with its deadline."""
        return max(0.02, min(5.0, min(self.command, self.data, self.block, self.final_dot) / 4))


RFC5321_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A server that takes our mail. `repr` never shows a secret.

    With an empty `user` no AUTH is tried. `token` returns an OAuth 2.0 access token: then AUTH is XOAUTH2 and
    the password is not used; it may block, and raises RelayUnreachable or any error of its own.
    `client_certificate` and `client_key` are PEM texts that we show during the TLS handshake; the key may
    stand in the certificate's text. `tls_context` replaces the default context (system certificates);
    `verify_certificate=False` accepts any certificate and any host name. `may_reach` says of an address and a
    port whether they may be connected to (it may block); None: wherever the host name leads.
    """

    host: str
    port: int
    security: Security = Security.NONE
    user: str = ""
    password: str = field(default="", repr=False)
    helo: str = "localhost"
    verify_certificate: bool = True
    tls_context: ssl.SSLContext | None = None
    client_certificate: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)
    token: Callable[[], str] | None = field(default=None, repr=False)
    may_reach: Callable[[str, int], bool] | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str, *, helo: str = "localhost") -> Relay:
        """Read a relay from a URL such as smtp+starttls://user:password@relay.example:587.

        smtp:// is plain, smtp+starttls:// insists on STARTTLS, smtps:// starts with TLS. User and password
        are percent-decoded; `?verify_certificate=no` accepts any certificate. Raises ValueError, whose
        message says what to write instead and never repeats the password.
        """
        parts = urlsplit(url.strip())
        security, default_port = _scheme(parts)
        if not parts.hostname:
            raise ValueError(f"The relay URL names no host. Write for example {EXAMPLE}")
        if parts.path.strip("/") or parts.fragment:
            raise ValueError(
                "The relay URL goes on after the host and port. A '/', '#' or '?' in the password must be "
                f"percent-encoded (%2F, %23, %3F). Example: {EXAMPLE}"
            )
        return cls(
            host=parts.hostname,
            port=_port(parts, default_port),
            security=security,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            helo=helo,
            verify_certificate=_asks_to_verify(parts),
        )

    def context(self) -> ssl.SSLContext:
        """Return the TLS context to use; the default one loads the system's certificates, so keep it.

        Raises ValueError, with the remedy, for a client certificate or key that cannot be used.
        """
        if self.tls_context is not None:
            return self.tls_context
        context = ssl.create_default_context()
        if not self.verify_certificate:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate:
            _show_certificate(context, self.client_certificate, self.client_key)
        return context


def _show_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads keys from files only, so it gets one that nobody else can open, and that for a moment."""
    try:
        with _private_file(f"{certificate.strip()}\n{key.strip()}\n".encode()) as path:
            context.load_cert_chain(path, password=lambda: "")  # an empty one: else it would ask the terminal
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ValueError(
            "The client certificate or its key cannot be used: paste both as PEM text (BEGIN CERTIFICATE, "
            f"BEGIN PRIVATE KEY), belonging together, the key without a passphrase ({_reason_of(error)})."
        ) from None


def _reason_of(error: Exception) -> str:
    return getattr(error, "reason", None) or type(error).__name__


@contextmanager
def _private_file(octets: bytes) -> Iterator[str]:
    """A path under which this process can read the octets: in memory where the system can do that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        with open(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.NamedTemporaryFile() as temporary:  # readable by its owner only
        temporary.write(octets)
        temporary.flush()
        yield temporary.name


def _scheme(parts: SplitResult) -> tuple[Security, int]:
    try:
        return SCHEMES[parts.scheme.lower()]
    except KeyError:
        names = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"The relay URL must start with one of {names}. Example: {EXAMPLE}") from None


def _port(parts: SplitResult, default: int) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return default
    if port < 1:
        raise ValueError(
            "The port in the relay URL must be a number from 1 to 65535, and a '/', '#', '?', '@' or ':' "
            f"in the password must be percent-encoded (%2F, %23, %3F, %40, %3A). Example: {EXAMPLE}"
        )
    return port


def _asks_to_verify(parts: SplitResult) -> bool:
    options = parse_qs(parts.query, keep_blank_values=True)
    answer = options.pop("verify_certificate", ["yes"])[-1].lower()
    if options or answer not in ("yes", "no"):
        raise ValueError("The only option of a relay URL is ?verify_certificate=yes or no.")
    return answer == "yes"
