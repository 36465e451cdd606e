"""Asked every minute: is mail getting away? Who can help is told where it is not, and once.

A lane that is held or paused is explained where it is shown, so it is not slow; only trouble with a server
that lasts for hours is told again. What was told is told anew only after it was well.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.diagnostics import meters
from postroom.diagnostics.models import Sample
from postroom.engine import LaneKind
from postroom.flows import notices
from postroom.outgoing import depth, holds
from postroom.outgoing.models import Lane, MailServer
from postroom.outgoing.relays import SECRETS
from postroom.outgoing.waiting import Waiting, waiting
from postroom.workspaces.models import Member, Role, Workspace

LANE = "watching:"
SLOW_AFTER = {Stream.URGENT: timedelta(minutes=5), Stream.BULK: timedelta(minutes=30)}
STALLED_AFTER = timedelta(minutes=30)
TROUBLE_LASTS = timedelta(hours=4)
SAMPLES_KEPT = timedelta(days=8)
STEP = 200

MAIL_SLOW = "mail_slow"
MAILING_STALLED = "mailing_stalled"
SERVER_LONG_DOWN = "long_down"
FOR_OPERATORS = "_here"  # after a reason: the words and the page for who runs the installation
DEPTH, OLDEST, MAILING, SAMPLED = "depth", "oldest", "mailing", "sampled"

log = logging.getLogger("postroom.watching")


async def drain(lane: str) -> None:
    """Look once; the next tick looks again."""
    await asyncio.to_thread(_in_thread)


def due() -> list[str]:
    """Somebody always has to look."""
    return [LANE]


KIND = LaneKind(LANE, drain, due)


def _in_thread() -> None:
    try:
        look(timezone.now())
    finally:
        connections.close_all()


def look(now: datetime) -> None:
    """Sample the queue once in each piece of time, tell of what became slow, and note what is well again."""
    lanes = waiting(now=now)[1]
    sample(lanes, now)
    slow = slow_lanes(lanes, now)
    _tell(slow, now)
    _note_well(slow, lanes)


def slow_lanes(lanes: Iterable[Waiting], now: datetime) -> dict[int, str]:
    """The lanes (by id) that get their mail away too slowly, each with the reason that people are told."""
    known = list(lanes)
    slow = {lane.lane_id: MAIL_SLOW for lane in known if _is_slow(lane, now)}
    ready = {lane.lane_id for lane in known if lane.is_ready(now)}
    mailings = set(Lane.objects.exclude(message=None).filter(pk__in=ready).values_list("pk", flat=True))
    stalled = _stalled(mailings, now)
    slow = {lane_id: reason for lane_id, reason in slow.items() if lane_id not in mailings}
    return {**slow, **dict.fromkeys(stalled, MAILING_STALLED), **_long_in_trouble(known, now)}


def _is_slow(lane: Waiting, now: datetime) -> bool:
    if not lane.is_ready(now):
        return False
    return now - depth.late_since(lane, now) > SLOW_AFTER[Stream(lane.stream)]


def _stalled(mailing_lane_ids: set[int], now: datetime) -> list[int]:
    """Mailings that were sampled all the time since STALLED_AFTER and have as much left as then."""
    if not mailing_lane_ids:
        return []
    since = meters.piece_at(now - STALLED_AFTER)
    labels = [str(lane_id) for lane_id in mailing_lane_ids]
    left: defaultdict[str, list[float]] = defaultdict(list)
    rows = Sample.objects.filter(name=MAILING, label__in=labels, at__gte=since)
    for label, value in rows.values_list("label", "value"):
        left[label].append(value)
    pieces = STALLED_AFTER.total_seconds() // meters.PIECE_SECONDS
    return [int(label) for label, values in left.items() if len(values) > pieces and len(set(values)) == 1]


def _long_in_trouble(lanes: Iterable[Waiting], now: datetime) -> dict[int, str]:
    held = {lane.lane_id: lane.server_id for lane in lanes if lane.held_because in holds.SERVER_TROUBLES}
    if not held:
        return {}
    failing = MailServer.objects.filter(pk__in=set(held.values()), failing_since__lt=now - TROUBLE_LASTS)
    server_ids = set(failing.values_list("pk", flat=True))
    return {lane_id: SERVER_LONG_DOWN for lane_id, pk in held.items() if pk in server_ids}


# Telling, and being well again.


def _tell(slow: Mapping[int, str], now: datetime) -> None:
    """Tell of lanes that were not slow before. Several stations look: who marks a lane tells of it."""
    untold = _known(Lane.objects.filter(pk__in=slow, slow_told_at=None))
    concerned: set[tuple[Workspace, str]] = set()
    for lane in untold[:STEP]:
        if Lane.objects.filter(pk=lane.pk, slow_told_at=None).update(slow_told_at=now):
            log.warning("Mail leaves too slowly: %s (%s)", lane, slow[lane.pk])
            concerned.add((lane.workspace, slow[lane.pk]))
    for workspace, reason in sorted(concerned, key=lambda each: (each[0].pk, each[1])):
        notices.tell_members(_admins_of(workspace), reason)
    for reason in sorted({reason for _, reason in concerned}):
        notices.tell_members(_operators(), reason + FOR_OPERATORS)


def _note_well(slow: Mapping[int, str], lanes: Iterable[Waiting]) -> None:
    """What was slow and is no more: what waited when people were told has left, or something explains it."""
    first_due = {lane.lane_id: lane.first_due_at for lane in lanes if not (lane.is_paused or lane.is_gated)}
    for lane in _known(Lane.objects.exclude(slow_told_at=None).exclude(pk__in=slow)):
        due_at = first_due.get(lane.pk)
        is_mailing = lane.message_id is not None
        if due_at is None or is_mailing or (lane.slow_told_at and due_at > lane.slow_told_at):
            Lane.objects.filter(pk=lane.pk).update(slow_told_at=None)
            log.info("Mail leaves again: %s", lane)


def _known(lanes: QuerySet[Lane]) -> list[Lane]:
    secrets = [f"server__{secret}" for secret in SECRETS]
    return list(lanes.select_related("workspace", "server").defer(*secrets).order_by("pk")[:STEP])


def _admins_of(workspace: Workspace) -> QuerySet[Member]:
    return Member.objects.filter(workspace=workspace, role=Role.ADMIN, is_active=True, user__is_active=True)


def _operators() -> QuerySet[Member]:
    return Member.objects.filter(role=Role.OPERATOR, is_active=True, user__is_active=True)


# Sampling.


def sample(lanes: list[Waiting], now: datetime) -> bool:
    """Note the depth of the queue for the charts; False if another station did in this piece of time."""
    at = meters.piece_at(now)
    mark = Sample(at=at, name=SAMPLED)
    if Sample.objects.filter(name=SAMPLED, label="", at=at).exists():
        return False
    rows = [mark, *_depths_at(lanes, now, at), *_left_at(at)]
    Sample.objects.bulk_create(rows, ignore_conflicts=True)
    Sample.objects.filter(at__lt=now - SAMPLES_KEPT).delete()
    return True


def _depths_at(lanes: list[Waiting], now: datetime, at: datetime) -> list[Sample]:
    waiting_count: defaultdict[str, int] = defaultdict(int)
    for deep in depth.depths(lanes, now):
        waiting_count[deep.stream] += deep.number
    oldest = depth.oldest_due_seconds(lanes, now)
    depths = [Sample(at=at, name=DEPTH, label=of, value=waiting_count[of]) for of in oldest]
    return [*depths, *(Sample(at=at, name=OLDEST, label=of, value=seconds) for of, seconds in oldest.items())]


def _left_at(at: datetime) -> list[Sample]:
    left = depth.mailings_left()
    return [
        Sample(at=at, name=MAILING, label=str(lane_id), value=count) for lane_id, (_, count) in left.items()
    ]
