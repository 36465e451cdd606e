"""What the engine is told at its start: names and callables, nothing about what they mean."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

_NUMBER = re.compile("[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class LaneKind:
    """The lane named `prefix` or, if it `is_numbered`, all whose names are `prefix` and a number from 1 on.

    `drain` takes the lane's name, does what is due and returns when the lane wants to be woken next (None:
    nothing waits); it is called again if it raises, after a growing delay. `due` is called in a thread and
    names the lanes that have something due: asked at the start and by every tick, so that a lost wake-up
    costs a minute and no mail.
    """

    prefix: str
    drain: Callable[[str], Awaitable[datetime | None]]
    due: Callable[[], list[str]]
    is_numbered: bool = False

    def has(self, name: str) -> bool:
        """Is this the name of one of its lanes?"""
        if not self.is_numbered:
            return name == self.prefix
        return name.startswith(self.prefix) and bool(_NUMBER.fullmatch(name.removeprefix(self.prefix)))
