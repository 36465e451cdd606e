"""What every tick looks after, in bounded steps.

Only what must not wait for a day is here, and what belongs to no workspace; the rest is `flows.vacuuming`'s.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone

from postroom.conversations import storage
from postroom.diagnostics.models import Sample
from postroom.engine import LaneKind
from postroom.flows import sending, signing_keys
from postroom.incoming.log import NOT_TAKEN, REFUSALS_KEPT
from postroom.incoming.models import ReceivedEmail, ReceivedState, SpooledMail
from postroom.outgoing import allowances
from postroom.outgoing.capturing import SECRET_LAYOUT
from postroom.outgoing.models import Email, Rendition, State

LANE = "housekeeping:"
SAMPLES_KEPT = timedelta(days=8)
STEP = 200
SPOOL_STEP = 50
SAMPLES_STEP = 2000  # more than a minute adds


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
        drop_secrets()
        allowances.drop_old(timezone.now())
        drop_samples()
        drop_sessions()
        drop_refusals()
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
        storage.want(spooled.storage_name)
        storage.put(spooled.storage_name, bytes(spooled.octets or b""))
        SpooledMail.objects.filter(pk=spooled.pk).update(octets=None)
    return len(rows)


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


def drop_samples() -> int:
    """Drop what the charts no longer show; return how many points went."""
    old = Sample.objects.filter(at__lt=timezone.now() - SAMPLES_KEPT).order_by("at")
    return Sample.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:SAMPLES_STEP])).delete()[0]


def drop_sessions() -> int:
    """Drop the logins that have expired; return how many went."""
    old = Session.objects.filter(expire_date__lt=timezone.now()).order_by("expire_date")
    return Session.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:STEP])).delete()[0]


def drop_refusals() -> int:
    """Drop the old lines of the incoming log that belong to no workspace; return how many went."""
    oldest = ReceivedEmail.objects.filter(workspace=None, state__in=NOT_TAKEN, spooled=None).order_by("pk")
    rows = oldest.values_list("pk", "received_at")[:STEP]
    before = timezone.now() - REFUSALS_KEPT
    old = [pk for pk, received_at in rows if received_at < before]
    return ReceivedEmail.objects.filter(pk__in=old).delete()[0]
