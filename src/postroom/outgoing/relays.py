"""Which server takes a workspace's mail, and how it is reached."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings

from postroom.conversations.models.records import Stream
from postroom.outgoing.models import Lane, MailServer
from postroom.smtp.relay import Relay
from postroom.workspaces.models import Workspace

SHARED_NAME = "relay"


def shared_server() -> MailServer:
    """The relay of the whole installation, set by RELAY_URL; its row is made if there is none."""
    return MailServer.objects.get_or_create(workspace=None, name=SHARED_NAME)[0]


def lane_of(workspace: Workspace, stream: Stream | str) -> Lane:
    """Where a workspace's Emails of a stream wait for the shared relay; made if there is none."""
    return Lane.objects.select_related("server").get_or_create(
        workspace=workspace, stream=str(stream), server=shared_server(), message=None
    )[0]


def relay_of(server: MailServer) -> Relay | None:
    """How to reach a server; None without a RELAY_URL. Raises ValueError, naming the remedy."""
    url: str = settings.POSTROOM_RELAY_URL
    return _relay(url, settings.POSTROOM_MAIL_DOMAIN) if url else None


@lru_cache(maxsize=8)
def _relay(url: str, helo: str) -> Relay:
    return Relay.from_url(url, helo=helo)
