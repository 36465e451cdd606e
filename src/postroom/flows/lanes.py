"""All kinds of lanes, for the engine."""

from __future__ import annotations

from postroom.engine import LaneKind
from postroom.flows import acting, housekeeping, receiving, scheduling, sending, watching


def lane_kinds() -> list[LaneKind]:
    """What `Engine` is started with: mail out and in, what is said later, actions, tidying, watching."""
    inbound = LaneKind(receiving.LANE, receiving.post_stored, receiving.due)
    return [sending.KIND, inbound, scheduling.KIND, *acting.KINDS, housekeeping.KIND, watching.KIND]
