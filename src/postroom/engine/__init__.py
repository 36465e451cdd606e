"""Wakes lanes. The tables hold what is to be done and when; the engine only says "look now"."""

from postroom.engine.lanes import LaneKind
from postroom.engine.waking import is_stopping, next_wake, wake

__all__ = ["LaneKind", "is_stopping", "next_wake", "wake"]
