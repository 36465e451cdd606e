"""Walks through large tables that go on where the last run stopped, and begin anew once a week."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from postroom.schedule.models import ScheduledAction
from postroom.schedule.work import Run

STEP = 500
ROUND = timedelta(days=7)
Row = tuple[Any, ...]


class Rounds:
    """Where the walks of one action stand; kept with the action after each group.

    A walk sees each row once as it grows old, and once a week everything from the beginning: what could not
    go because it was in use may go by then.
    """

    def __init__(self, run: Run) -> None:
        self._action_id, self._now = run.action.pk, run.now
        self._positions: dict[str, Any] = dict(run.action.positions)

    def old(
        self, name: str, rows: QuerySet[Any], columns: Sequence[str], is_old: Callable[[Row], bool]
    ) -> Iterator[list[Row]]:
        """Groups of at most `STEP` old rows in the order of ids, until nothing of a group is old.

        Ids grow with time, so that what lies further on is younger but for a few. Each row is its id and then
        `columns`. What is given is done with once the next group is asked for.
        """
        after = self._start_of(name)
        while True:
            found = rows.filter(pk__gt=after).order_by("pk").values_list("pk", *columns)[:STEP]
            seen = list(found)
            group = [row for row in seen if is_old(row)]
            yield group
            if group:
                after = group[-1][0]
                self.note(name, after)
            if not group or len(seen) < STEP:
                return

    def at(self, name: str) -> Any:
        """Where a walk stopped; None if it came to its end, or never began."""
        return self._positions.get(name)

    def note(self, name: str, position: Any) -> None:
        """Go on behind `position` (None: from the beginning)."""
        self._positions[name] = position
        self._keep()

    def _start_of(self, name: str) -> int:
        begun = f"{name}.begun"
        begun_at = self._positions.get(begun)
        if begun_at is None or self._now - datetime.fromisoformat(begun_at) >= ROUND:
            self._positions |= {begun: self._now.isoformat(), name: 0}
            self._keep()
        return int(self._positions[name])

    def _keep(self) -> None:
        ScheduledAction.objects.filter(pk=self._action_id).update(positions=self._positions)
