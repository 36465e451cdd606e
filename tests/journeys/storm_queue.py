"""Fills the queue of an installation from a process of its own, with the product's settings.

Run as `python -m tests.journeys.storm_queue '{"urgent": 50, "bulk": 20, "limit": null, "servers": {}}'`, with
POSTROOM_DATA set. `servers` are servers of the workspace's own by name: {"port": …, "priority": …}; with
them the mail waits for the first one. Retries come after a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

OCTETS = (
    b"From: ana@demo.example\r\nTo: %%(to)b\r\nMessage-ID: <%b>\r\n"
    b"X-Postroom-Copy: %%(copy)b\r\nSubject: Lamps\r\n\r\nHello\r\n"
)


def fill(urgent: int, bulk: int, limit: int | None, servers: dict[str, dict[str, int]]) -> None:
    """Migrate, make the cast and queue one message of each stream."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from django.db import transaction

    from postroom.conversations.models.records import Stream
    from postroom.outgoing.models import MailServer
    from postroom.workspaces.models import Plan, SystemParameter
    from tests.people import cast

    workspace = cast().workspace
    SystemParameter.objects.create(workspace=workspace, key="mail.retry.gaps_seconds", value="1")
    if limit is not None:
        workspace.plan, workspace.daily_limit = Plan.PAID, limit
        workspace.save(update_fields=["plan", "daily_limit"])
    for name, fields in servers.items():
        MailServer.objects.create(
            workspace=workspace, name=name, host="127.0.0.1", encryption="none", **fields
        )
    with transaction.atomic():
        _queue(workspace, Stream.URGENT, urgent)
        _queue(workspace, Stream.BULK, bulk)


def _queue(workspace: Any, stream: Any, count: int) -> None:
    from postroom.conversations.models import Address
    from postroom.outgoing.models import MailServer
    from postroom.outgoing.relays import lane_of
    from tests.outgoing.queued import queue

    if not count:
        return
    addr_specs = [f"{stream}{number}@example.org" for number in range(count)]
    Address.objects.bulk_create(Address(workspace=workspace, addr_spec=each) for each in addr_specs)
    own = MailServer.objects.filter(workspace=workspace).order_by("priority").first()
    queue(
        workspace,
        addr_specs,
        stream=stream,
        octets=OCTETS % addr_specs[0].encode(),
        lane=lane_of(workspace, stream, own),
    )


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "postroom_server.settings"
    import django

    django.setup()
    fill(**json.loads(sys.argv[1]))
