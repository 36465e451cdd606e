"""Which servers can take a workspace's mail, how they are reached and what they let us do."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from postroom.conversations.models.records import Stream
from postroom.outgoing import gates, oauth_tokens
from postroom.outgoing.dialects import is_postgres
from postroom.outgoing.models import Lane, MailServer
from postroom.outgoing.reach import Reach
from postroom.smtp.relay import Relay, Security
from postroom.wire.from_filter import FromFilter
from postroom.workspaces import parameters
from postroom.workspaces.models import Workspace

SHARED_NAME = "relay"
SECRETS = ("password", "client_key", "oauth", "esp_options")
MAX_SIZE_PARAMETER = "mail.default.max_size_megabytes"
OCTETS_PER_MEGABYTE = 1_000_000


def shared_server() -> MailServer:
    """The relay of the whole installation, set by RELAY_URL; its row is made if there is none."""
    return MailServer.objects.get_or_create(workspace=None, name=SHARED_NAME)[0]


def servers_of(workspace: Workspace) -> QuerySet[MailServer]:
    """The workspace's active servers in the order in which they are asked; their secrets stay sealed."""
    active = MailServer.objects.filter(workspace=workspace, is_active=True)
    return active.order_by("priority", "name", "pk").defer(*SECRETS)


def lane_of(
    workspace: Workspace,
    stream: Stream | str,
    server: MailServer | None = None,
    *,
    has_foreign_from: bool = False,
) -> Lane:
    """Where a workspace's Emails of a stream wait for a server (None: the shared relay); made if needed.

    `has_foreign_from`: what is put there now has a From on no domain of the workspace. The lane remembers it.
    One for bulk mail is made shut: what is put there waits for its scheduled action (`outgoing.gates`).
    """
    server = server or shared_server()
    lane, _ = Lane.objects.get_or_create(
        workspace=workspace,
        stream=str(stream),
        server=server,
        message=None,
        defaults={"released_until": gates.shut_at} if stream == Stream.BULK else None,
    )
    lane.server = server
    if has_foreign_from and not lane.has_foreign_from:
        lane.has_foreign_from = True
        lane.save(update_fields=["has_foreign_from"])
    return lane


def stays_in_use(server: MailServer) -> bool:
    """May mail be put into its lanes? Then nobody archives it before this transaction ends.

    Archiving locks the row for itself alone before it looks what waits; on SQLite only one writes anyway.
    The object learns what it is now.
    """
    lock = "FOR KEY SHARE" if is_postgres() else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT is_active FROM postroom_mailserver WHERE id = %s {lock}", [server.pk])
        row = cursor.fetchone()
    server.is_active = row is not None and bool(row[0])
    return server.is_active


def relay_of(server: MailServer) -> Relay | None:
    """How to reach a server: by its row, or the shared one by RELAY_URL (None if that is not set).

    None, too, for a server that is reached by other means than SMTP. Raises ValueError, naming the remedy.
    """
    if server.is_shared:
        url: str = settings.POSTROOM_RELAY_URL
        return _shared_relay(url, settings.POSTROOM_MAIL_DOMAIN) if url else None
    return _own_relay(server) if server.transport == MailServer.Transport.SMTP else None


def filter_of(server: MailServer) -> FromFilter:
    """From where a server lets us send; that of the shared relay is RELAY_FROM_FILTER."""
    return _filter(settings.POSTROOM_RELAY_FROM_FILTER if server.is_shared else server.from_filter)


def protection_of(server: MailServer) -> int:
    """0: in clear; 1: encrypted, to whoever answers; 2: encrypted, to a server that proves its name."""
    if server.transport != MailServer.Transport.SMTP:
        return 2  # a provider's API is asked over HTTPS alone
    if not server.is_shared:
        return _protection(Security(server.encryption), server.is_certificate_checked)
    relay = relay_of(server)
    return _protection(relay.security, relay.verify_certificate) if relay else 0


def _protection(security: Security, is_checked: bool) -> int:
    return 0 if security == Security.NONE else 1 + is_checked


def max_octets_of(server: MailServer, workspace_id: int | None = None) -> int:
    """How large a mail it takes: what is set for it, else what it told, else the System Parameter.

    Without a workspace the shared relay goes by the parameter's default.
    """
    if server.max_size_megabytes is not None:
        return server.max_size_megabytes * OCTETS_PER_MEGABYTE
    if server.announced_size:
        return server.announced_size
    here = workspace_id or server.workspace_id
    known = parameters.KNOWN[MAX_SIZE_PARAMETER]
    megabytes: int = parameters.value(here, MAX_SIZE_PARAMETER) if here else known.parse(known.default)
    return megabytes * OCTETS_PER_MEGABYTE


def _own_relay(server: MailServer) -> Relay:
    is_certificate_shown = server.authentication == MailServer.Authentication.CERTIFICATE
    has_token = server.authentication == MailServer.Authentication.XOAUTH2
    return Relay(
        host=server.host,
        port=server.port,
        security=Security(server.encryption),
        user=server.user,
        password=server.password,
        helo=settings.POSTROOM_MAIL_DOMAIN,
        verify_certificate=server.is_certificate_checked,
        client_certificate=server.client_certificate if is_certificate_shown else "",
        client_key=server.client_key if is_certificate_shown else "",
        token=oauth_tokens.token_of(server) if has_token else None,
        may_reach=Reach(has_login=bool(server.user) or has_token),
    )


@lru_cache(maxsize=8)
def _shared_relay(url: str, helo: str) -> Relay:
    return Relay.from_url(url, helo=helo)


@lru_cache(maxsize=1024)
def _filter(text: str) -> FromFilter:
    return FromFilter.parse(text)
