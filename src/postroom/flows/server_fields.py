"""What is written into the fields of an outgoing server is put in order, or refused in words."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.conf import settings
from django.utils.translation import gettext as _

from postroom.flows import esp_settings
from postroom.outgoing import provider_calls, reach
from postroom.outgoing.models import MailServer
from postroom.wire.characters import is_visible, readable
from postroom.wire.from_filter import FromFilter
from postroom.workspaces.refusals import RequestRefused

DEFAULT_PORTS = {
    MailServer.Encryption.NONE: 25,
    MailServer.Encryption.STARTTLS: 587,
    MailServer.Encryption.TLS: 465,
}
MOST_CONNECTIONS = 200
HIGHEST_NUMBER = 32_767
HIGHEST_LIMIT = 2_000_000_000
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_TEXTS = (
    "host",
    "user",
    "password",
    "client_certificate",
    "client_key",
    "oauth",
    "from_filter",
    "esp_options",
)
_LINE_OF_SECRETS = ("user", "password")


def put_in_order(server: MailServer) -> None:
    """Trim and normalise what was written; a port of 0 becomes the usual one of the encryption.

    Raises RequestRefused, which names the field and what to write instead.
    """
    server.name = " ".join(server.name.split())
    if not (0 < len(server.name) <= 80 and is_visible(server.name)):
        raise RequestRefused(
            _("Give the server a name of at most 80 characters, and none of them a control character.")
        )
    _check_texts(server)
    _check_choices(server)
    _check_numbers(server)
    _check_filter(server)
    if server.transport == MailServer.Transport.ESP:
        esp_settings.check(server)
        return
    if server.esp:  # it was an account at a provider before
        server.esp = server.esp_options = ""
    _check_connection(server)
    _check_authentication(server)


def check_limits(server: MailServer) -> None:
    """Check what may be changed of the shared relay, too. Raises RequestRefused."""
    _check_numbers(server)


def _check_choices(server: MailServer) -> None:
    choices = {
        "transport": MailServer.Transport,
        "encryption": MailServer.Encryption,
        "authentication": MailServer.Authentication,
    }
    for name, known in choices.items():
        value = str(getattr(server, name))
        if value not in known.values:
            raise RequestRefused(
                _("“%(value)s” cannot be chosen here. Choose one of %(choices)s.")
                % {"value": value[:80], "choices": ", ".join(known.values)}
            )


def _check_texts(server: MailServer) -> None:
    """No database takes NUL, and nobody's text needs it."""
    for name in {*_TEXTS} - server.get_deferred_fields():
        value = getattr(server, name) or ""
        if value != readable(value):
            raise RequestRefused(
                _("There is a control character in %(field)s. Enter it once more without it.")
                % {"field": name}
            )


def _numbers(server: MailServer) -> Iterator[tuple[str, int | None, int, int]]:
    """Each number with its words, its value, the lowest and the highest it may be."""
    yield _("The priority"), server.priority, 0, HIGHEST_NUMBER
    yield _("The number of connections"), server.connection_limit, 1, MOST_CONNECTIONS
    yield _("The largest size in MB"), server.max_size_megabytes, 1, HIGHEST_NUMBER
    yield _("The limit per minute"), server.limit_per_minute, 1, HIGHEST_LIMIT
    yield _("The limit per hour"), server.limit_per_hour, 1, HIGHEST_LIMIT
    yield _("The limit per day"), server.limit_per_day, 1, HIGHEST_LIMIT


def _check_numbers(server: MailServer) -> None:
    for what, value, lowest, highest in _numbers(server):
        if value is not None and not lowest <= value <= highest:
            raise RequestRefused(
                _("%(what)s is a number from %(lowest)s to %(highest)s.")
                % {"what": what, "lowest": lowest, "highest": highest}
            )


def _check_filter(server: MailServer) -> None:
    try:
        server.from_filter = str(FromFilter.parse(server.from_filter))
    except ValueError as error:
        raise RequestRefused(_("FROM Filtering cannot be read. %(why)s") % {"why": error}) from error


def _check_connection(server: MailServer) -> None:
    server.host = server.host.strip().rstrip(".").strip("[]").lower()
    server.port = server.port or DEFAULT_PORTS[MailServer.Encryption(server.encryption)]
    if not _is_host(server.host):
        raise RequestRefused(
            _("The host is the name or the number of the server alone, like smtp.example.com.")
        )
    if not 1 <= server.port <= 65535:
        raise RequestRefused(_("The port is a number from 1 to 65535; usual are 587, 465, 2525 and 25."))
    if _is_our_listener(server.host, server.port):
        raise RequestRefused(
            _(
                "That is where Postroom itself takes mail in: it would send everything to itself. "
                "Name the server of your provider."
            )
        )
    _check_place(server)


def _check_place(server: MailServer) -> None:
    has_login = bool(server.user) or server.authentication == MailServer.Authentication.XOAUTH2
    if not reach.Reach(has_login=has_login).may_be_called(server.host, server.port):
        raise RequestRefused(
            _(
                "A server may not lead to %(host)s: that is in a private network, or where the shared relay "
                "is. Name a server in the open internet, or ask an operator (POSTROOM_PRIVATE_NETWORKS)."
            )
            % {"host": server.host}
        )


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        is_number = text.replace(".", "").isdigit()
        return bool(_HOST_NAME.fullmatch(text)) and not is_number
    return True


def _is_our_listener(host: str, port: int) -> bool:
    config = getattr(settings, "CONFIG", None)
    if config is None:
        return False
    here, listening = config.endpoint("POSTROOM_SMTP")
    mail_domain: str = settings.POSTROOM_MAIL_DOMAIN
    if host == mail_domain or host.endswith(f".{mail_domain}"):
        return port in (25, listening)
    if port == listening and host == here:
        return True
    return any(reach.is_our_listener(number, port) for number in reach.numbers_of(host, port))


def _check_authentication(server: MailServer) -> None:
    for name in _LINE_OF_SECRETS:
        if not getattr(server, name).isprintable():
            raise RequestRefused(_("Username and password are one line each, without control characters."))
    match MailServer.Authentication(server.authentication):
        case MailServer.Authentication.LOGIN:
            if server.password and not server.user:
                raise RequestRefused(_("There is a password without a username. Give both, or neither."))
        case MailServer.Authentication.CERTIFICATE:
            _check_certificate(server)
        case MailServer.Authentication.XOAUTH2:
            if not (server.user and server.oauth):
                raise RequestRefused(_("OAuth 2.0 needs the username and the access that was granted to it."))
            _check_object(server.oauth, _("The OAuth 2.0 access"))
            _check_token_url(server.oauth)


def _check_token_url(oauth: str) -> None:
    token_url = str(json.loads(oauth).get("token_url") or "")
    if token_url and not provider_calls.may_be_asked(token_url):
        raise RequestRefused(
            _(
                "The token address of the provider begins with https:// and is in the open internet. Copy it "
                "from the provider, or ask an operator (POSTROOM_PRIVATE_NETWORKS)."
            )
        )


def _check_certificate(server: MailServer) -> None:
    if server.encryption == MailServer.Encryption.NONE:
        raise RequestRefused(_("A certificate is shown over TLS only. Choose TLS (STARTTLS) or SSL/TLS."))
    try:
        certificate = x509.load_pem_x509_certificate(server.client_certificate.encode())
        key = load_pem_private_key(server.client_key.encode(), None)
    except (ValueError, TypeError) as error:
        raise RequestRefused(
            _("Paste the certificate and its private key as PEM texts, the key without a password.")
        ) from error
    if certificate.public_key() != key.public_key():
        raise RequestRefused(_("The private key is not that of the certificate. Paste the two that belong."))


def _check_object(text: str, what: str) -> None:
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise RequestRefused(_("%(what)s must be a JSON object.") % {"what": what})
