"""Actions in a state that a test needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from postroom.schedule import running
from postroom.schedule.models import ScheduledAction
from postroom.schedule.running import Outcome, Result, Taken
from postroom.workspaces.models import Workspace

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
KEYS = ("mail_queue", "mailing_queue", "scheduled_messages", "auto_vacuum", "dns_check")


def only(workspace: Workspace, key: str = "mail_queue", **fields: Any) -> ScheduledAction:
    """The workspace's action, due at noon each hour; all others are switched off."""
    ScheduledAction.objects.filter(workspace=workspace).exclude(key=key).update(is_active=False)
    values = {"next_call_at": NOON, "anchor_at": NOON, "interval": 60, "unit": "minutes", "is_active": True}
    ScheduledAction.objects.filter(workspace=workspace, key=key).update(**{**values, **fields})
    return ScheduledAction.objects.get(workspace=workspace, key=key)


def take(now: datetime, lease: str = "lease") -> Taken | None:
    """Take whatever is due."""
    return running.take(lease, KEYS, now)


def run(now: datetime, result: str = Result.DONE, *, error: str = "", **counts: int) -> str:
    """Take one and end it in the same moment; return its key, "" if nothing was due."""
    taken = take(now)
    if taken is None:
        return ""
    running.finish(taken.action.pk, "lease", Outcome(result, counts, error), now)
    return taken.action.key


def all_runs(now: datetime) -> list[str]:
    """The keys of all that is due, in the order in which they run."""
    found = []
    while key := run(now):
        found.append(key)
    return found
