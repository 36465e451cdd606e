"""What every tick tidies up, in bounded steps: nothing here is urgent, and nothing here takes long."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone

from postroom.conversations import storage
from postroom.engine import LaneKind
from postroom.flows import scheduling, sending, signing_keys
from postroom.incoming.models import ReceivedState, SpooledMail
from postroom.outgoing import allowances
from postroom.outgoing.capturing import SECRET_LAYOUT
from postroom.outgoing.models import Email, Rendition, State
from postroom.workspaces.models import IdempotentRequest

LANE = "housekeeping:"
RENDITIONS_KEPT = timedelta(days=14)
REQUESTS_KEPT = timedelta(hours=24)
STEP = 200
SPOOL_STEP = 50


async def drain(lane: str) -> None:
    """Do one step of everything; the next tick does the next."""
    await asyncio.to_thread(_tidy)


def due() -> list[str]:
    """There may always be something to tidy up."""
    return [LANE]


KIND = LaneKind(LANE, drain, due)


def _tidy() -> None:
    try:
        sending.recover(is_start=False)
        drop_renditions()
        drop_secrets()
        drop_requests()
        allowances.drop_old(timezone.now())
        scheduling.forget_settled()
        signing_keys.retire_due()
        move_spooled()  # last, because a full disk stops it, and the others make room
    finally:
        connections.close_all()


def move_spooled() -> int:
    """Move the octets of posted mails from the table into the storage; return how many were moved.

    They leave the table only once the storage has all of them. Raises OSError if it does not take them.
    """
    unposted = SpooledMail.objects.filter(received__state=ReceivedState.STORED)
    rows = (
        SpooledMail.objects.filter(octets__isnull=False).exclude(pk__in=unposted).order_by("pk")[:SPOOL_STEP]
    )
    for spooled in rows:
        storage.put(spooled.storage_name, bytes(spooled.octets or b""))
        SpooledMail.objects.filter(pk=spooled.pk).update(octets=None)
    return len(rows)


def drop_renditions() -> int:
    """Drop the octets of mail that is settled after two weeks; its Emails stay. Return how many went."""
    open_states = Email.objects.filter(state=State.OUTGOING) | Email.objects.failed()
    old = Rendition.objects.filter(created_at__lt=timezone.now() - RENDITIONS_KEPT)
    settled = old.exclude(pk__in=open_states.filter(rendition__in=old).values("rendition_id"))
    return _drop(settled)


def drop_secrets() -> int:
    """Drop the octets of mail that only its recipients may read once none of it waits; return how many went.

    What failed goes too: it cannot be sent again, and nobody can send it to another address.
    """
    secret = Rendition.objects.filter(layout=SECRET_LAYOUT)
    waiting = Email.objects.filter(state=State.OUTGOING, rendition__in=secret)
    return _drop(secret.exclude(pk__in=waiting.values("rendition_id")))


def _drop(renditions: QuerySet[Rendition]) -> int:
    chosen = list(renditions.order_by("pk").values_list("pk", flat=True)[:STEP])
    Email.objects.filter(rendition_id__in=chosen).update(rendition=None)
    Rendition.objects.filter(pk__in=chosen).delete()
    return len(chosen)


def drop_requests() -> int:
    """Forget answers to requests with an Idempotency-Key after a day; return how many were forgotten."""
    old = IdempotentRequest.objects.filter(created_at__lt=timezone.now() - REQUESTS_KEPT)
    return IdempotentRequest.objects.filter(pk__in=old.order_by("pk").values("pk")[:STEP]).delete()[0]
