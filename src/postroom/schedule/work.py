"""What the work of a scheduled action is: steps with a safe point after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from postroom.schedule.models import ScheduledAction
from postroom.workspaces.models import Workspace


class Run(NamedTuple):
    """One run of an action: for which workspace, and when it began. The row is as it was at that moment."""

    action: ScheduledAction
    workspace: Workspace
    now: datetime


#: Does the work of one run. Each `yield {"removed emails": 200}` is a safe point: what it tells of is
#: committed, and the run may end there and go on later with a new call. Ending means that nothing is left
#: to do; raising, that the run has failed, and that what was committed stays.
Work = Callable[[Run], Iterator[Mapping[str, int]]]
