"""How far a copy is, for whoever watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of each step and of what was done of it."""

    def begin(self, step: str, total: int | None) -> None:
        """A step of so many pieces begins; None: nobody knows how many."""

    def advance(self, count: int) -> None:
        """So many pieces more are done."""


class Unwatched:
    """Nobody watches."""

    def begin(self, step: str, total: int | None) -> None:
        """See Progress."""

    def advance(self, count: int) -> None:
        """See Progress."""
