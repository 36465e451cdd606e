"""What the engine is told at its start: names and callables, nothing about what they mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LaneKind:
    """All lanes whose name begins with `prefix`.

    `drain` takes the lane's name, does what is due and returns when the lane wants to be woken next (None:
    nothing waits); it is called again if it raises, after a growing delay. `due` is called in a thread and
    names the lanes that have something due: asked at the start and by every tick, so that a lost wake-up
    costs a minute and no mail.
    """

    prefix: str
    drain: Callable[[str], Awaitable[datetime | None]]
    due: Callable[[], list[str]]
