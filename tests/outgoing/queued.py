"""Filling the queue by hand, and a relay that does what the local part says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from django.db import models

from postroom.conversations.models import Address, Contact, Message
from postroom.conversations.models.records import Stream
from postroom.outgoing import gates
from postroom.outgoing.models import Email, Lane, Rendition, Tally
from postroom.outgoing.relays import lane_of
from postroom.smtp.listener import HangUp, Listener, ListenerLimits, Session, Transaction
from postroom.wire.reply import EnhancedStatus, Reply
from postroom.workspaces.models import Workspace

OCTETS = (
    b"From: ana@demo.example\r\nTo: %(to)b\r\nX-Postroom-Copy: %(copy)b\r\nSubject: Lamps\r\n\r\nHello\r\n"
)


def queue(
    workspace: Workspace,
    addr_specs: list[str],
    *,
    stream: Stream = Stream.URGENT,
    octets: bytes = OCTETS,
    message: dict[str, Any] | None = None,
    is_gated: bool = False,
    **fields: Any,
) -> list[Email]:
    """One message to these addresses, in the queue of the shared relay; `fields` override an Email's.

    Bulk mail need not wait for its scheduled action, unless `is_gated`.
    """
    said = Message.objects.create(
        workspace=workspace, stream=stream, message_id=f"<{addr_specs[0]}>", **(message or {})
    )
    rendition = Rendition.objects.create(
        workspace=workspace,
        message=said,
        language="en",
        layout="outside",
        digest="0",
        size=len(octets),
        octets=octets,
    )
    lane = fields.pop("lane", None) or lane_of(workspace, stream)
    if not is_gated:
        release(lane)
    known = {addr_spec: Address.of(workspace, addr_spec) for addr_spec in addr_specs}
    emails = Email.objects.bulk_create(
        Email(
            **{
                "workspace": workspace,
                "message": said,
                "rendition": rendition,
                "address": known[addr_spec],
                "contact": Contact.objects.filter(address=known[addr_spec]).first(),
                "lane": lane,
                "is_listed": stream == Stream.BULK,
                **fields,
            }
        )
        for addr_spec in addr_specs
    )
    Tally.objects.create(
        message=said, workspace=workspace, total_count=len(emails), outgoing_count=len(emails)
    )
    return list(Email.objects.filter(message=said).order_by("pk"))


def release(lane: Lane) -> None:
    """Let everything leave that is in this lane, and all that is put there later."""
    gates.open_until({lane.pk: gates.FOR_GOOD})


def tally_adds_up(message: Message) -> bool:
    """Does the Tally say what the Emails say?"""
    tally = Tally.objects.get(message=message)
    emails = Email.objects.filter(message=message)
    counted = dict(emails.filter(ignored_at=None).values_list("state").annotate(n=models.Count("id")))
    ignored_count = emails.exclude(ignored_at=None).count()
    return (
        tally.outgoing_count == counted.get("outgoing", 0)
        and tally.sent_count == counted.get("sent", 0)
        and tally.failed_count == counted.get("failed", 0)
        and tally.cancelled_count == counted.get("cancelled", 0)
        and tally.ignored_count == ignored_count
    )


class RelayDoor:
    """Takes everything, except what the local part asks for: code-550, greylist, drop, slow."""

    def __init__(self) -> None:
        self.taken: list[Transaction] = []
        self.asked: list[str] = []
        self.most_open = 0
        self.gate = asyncio.Event()

    async def recipient(self, session: Session, forward_path: str) -> Reply:
        """Answer RCPT."""
        self.asked.append(forward_path)
        if found := re.match(r"code-(\d)(\d\d)", forward_path):
            return Reply(int(found[1] + found[2]), EnhancedStatus(int(found[1]), 1, 1), "as you asked")
        if forward_path.startswith("greylist") and self.asked.count(forward_path) == 1:
            return Reply(450, EnhancedStatus(4, 7, 1), "come back later")
        return Reply(250, EnhancedStatus(2, 1, 5), "Ok")

    async def content(self, session: Session, transaction: Transaction) -> Reply:
        """Answer the final dot."""
        self.taken.append(transaction)
        if transaction.forward_paths[0].startswith("drop"):
            raise HangUp
        if transaction.forward_paths[0].startswith("slow"):
            await self.gate.wait()
        return Reply(250, EnhancedStatus(2, 0, 0), f"Ok: queued as {len(self.taken):08X}")


@contextlib.asynccontextmanager
async def relay(settings: Any, door: RelayDoor | None = None) -> AsyncIterator[RelayDoor]:
    """A relay on a free port, set as RELAY_URL."""
    door = door or RelayDoor()
    listener = Listener(door, "relay.localhost", ListenerLimits())
    host, port = await listener.start("127.0.0.1", 0)
    settings.POSTROOM_RELAY_URL = f"smtp://{host}:{port}"
    try:
        yield door
    finally:
        await listener.stop(0.2)
