"""How a run answers a server that asks for less: slower first, and in the end not at all for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

STRIKES = 3


class Pace:
    """Counts the times a server asked for less since it last took a mail.

    What was on its way when we slowed down counts once: the answers to it are all about the old pace. After
    three such times in a row `is_spent`: the server is to be left alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slowed_at = 0.0
        self.strike_count = 0
        self.has_accepted = False
        self.last_words = ""

    @property
    def is_asked_for_less(self) -> bool:
        """Was that the last we heard of it?"""
        return self.strike_count > 0

    @property
    def is_spent(self) -> bool:
        """Did slowing down not help?"""
        return self.strike_count >= STRIKES

    def accepted(self) -> None:
        """The server took a mail."""
        self.has_accepted = True
        if not self.is_spent:
            self.strike_count = 0

    def throttled(self, seconds: float, words: str) -> bool:
        """Note an answer that asks for less, to a mail that began so long ago; should we slow down now?"""
        now = self._clock()
        self.last_words = words
        if self.strike_count and now - seconds < self._slowed_at:
            return False
        self._slowed_at = now
        self.strike_count += 1
        return True
