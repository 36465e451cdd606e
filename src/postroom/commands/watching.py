"""A bar that shows how far a long command is, where somebody watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from postroom_server.store.progress import Progress


class Bar:
    """One line per step on stderr (`postroom_server.store.progress.Progress`)."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._step: TaskID | None = None

    def begin(self, step: str, total: int | None) -> None:
        """Add the line of a step; the one before has come to its end."""
        self._end()
        self._step = self._bars.add_task(step, total=total)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._step is not None:
            self._bars.advance(self._step, count)

    def _end(self) -> None:
        if self._step is not None:
            done = self._bars.tasks[-1].completed
            self._bars.update(self._step, total=done, completed=done)


@contextlib.contextmanager
def watched() -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere."""
    from postroom_server.store.progress import Unwatched

    if not sys.stderr.isatty():
        yield Unwatched()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield Bar(bars)
