"""Outgoing servers of the cast."""

from __future__ import annotations

from typing import Any

from postroom.outgoing.models import MailServer
from tests.people import Cast


def server_at(people: Cast, port: int, **fields: Any) -> MailServer:
    """A server of the workspace that listens on this port of 127.0.0.1; without encryption unless told."""
    given = {"name": "Lamps", "host": "127.0.0.1", "encryption": "none", **fields}
    return MailServer.objects.create(workspace=people.workspace, port=port, **given)
