"""The lanes in which something waits, with all that decides whether and how much of it may leave.

They are found by hopping from lane to lane along the index of due Emails: it costs per lane, not per Email.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from postroom.conversations.models.records import Stream
from postroom.outgoing.dialects import aware, database_time
from postroom.outgoing.models import Allowance
from postroom.workspaces import parameters, plans

WAITING = "state = 'outgoing' AND lease = ''"
_UNITS = (Allowance.Unit.MINUTE, Allowance.Unit.HOUR, Allowance.Unit.DAY)


class Waiting(NamedTuple):
    """A lane in which Emails wait: when its first one is due, what keeps it, and which limits it meets.

    `released_until` is its gate: what is due later waits for its scheduled action (None: nothing does).
    `server_id` is the server that carries it, be it a stand-in. `limit` is the workspace's daily limit, None
    where nothing counts it; `plan` and `own_limit` are what it comes from, `kept` what bulk mail
    leaves of it. `rates` are the server's limits as (unit, number).
    """

    lane_id: int
    workspace_id: int
    server_id: int
    stream: str
    held_until: datetime | None
    is_paused: bool
    first_due_at: datetime
    held_because: str = ""
    plan: str = ""
    own_limit: int | None = None
    limit: int | None = None
    kept: int = 0
    is_auto_resumed: bool = True
    rates: tuple[tuple[str, int], ...] = ()
    released_until: datetime | None = None

    def cutoff(self, now: datetime) -> datetime:
        """Until when an Email must be due to be claimed now: the gate's time, if that is earlier."""
        return now if self.released_until is None else min(now, self.released_until)

    @property
    def is_gated(self) -> bool:
        """Does all of it wait for its scheduled action? Then no time opens it."""
        return self.released_until is not None and self.released_until < self.first_due_at

    def opens_at(self, now: datetime) -> datetime | None:
        """When something of it may be claimed: after its hold, and once its first Email is due.

        None: nobody knows, because a pause or its gate keeps it.
        """
        if self.is_paused or self.is_gated:
            return None
        return max(self.first_due_at, self.held_until or now)

    def is_ready(self, now: datetime) -> bool:
        """Is something due in it, and does nothing keep it?"""
        opens_at = self.opens_at(now)
        return opens_at is not None and opens_at <= now

    @property
    def is_urgent(self) -> bool:
        """Does it go before bulk mail?"""
        return self.stream == Stream.URGENT

    @property
    def ceiling(self) -> int:
        """How much of the day's limit may be used before its stream has to wait; only where there is one."""
        assert self.limit is not None
        return self.limit if self.is_urgent else self.limit - self.kept


def waiting(server_id: int | None = None, *, now: datetime | None = None) -> tuple[datetime, list[Waiting]]:
    """The database's time (or `now`), and the lanes (that a server carries) in which Emails wait."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [plans.URGENT_SHARE, plans.AUTO_RESUME, server_id, server_id])
        lanes = [_lane(row) for row in cursor.fetchall()]
    return now or database_time(), lanes


def _lane(row: tuple[Any, ...]) -> Waiting:
    plan, own_limit, is_shared = row[8:11]
    rates = tuple((unit, rate) for unit, rate in zip(_UNITS, row[11:14], strict=True) if rate is not None)
    held_until, first_due_at, released_until = aware(row[4]), aware(row[6]), aware(row[16])
    keeps = (held_until, bool(row[5]), first_due_at, *row[7:10])
    lane = Waiting._make((*row[:4], *keeps, None, 0, True, rates, released_until))
    limit = plans.limit_from(plan, own_limit) if is_shared else None
    if limit is None:
        return lane
    percent = parameters.read(plans.URGENT_SHARE, row[14])
    return lane._replace(
        limit=limit,
        kept=plans.kept_for_urgent(limit, percent),
        is_auto_resumed=parameters.read(plans.AUTO_RESUME, row[15]),
    )


# A hold because of the daily limit ends where a server of the workspace's own carries the lane.
_SQL = f"""
    WITH RECURSIVE hop(lane_id) AS (
        SELECT (SELECT MIN(lane_id) FROM postroom_email WHERE {WAITING})
        UNION ALL
        SELECT (SELECT MIN(e.lane_id) FROM postroom_email e WHERE {WAITING} AND e.lane_id > hop.lane_id)
        FROM hop WHERE hop.lane_id IS NOT NULL
    )
    SELECT lane.id, lane.workspace_id, carrier.id, lane.stream,
        CASE WHEN carrier.workspace_id IS NULL OR lane.held_because NOT LIKE 'daily_limit%%'
            THEN lane.held_until END,
        lane.is_paused,
        (SELECT MIN(due_at) FROM postroom_email WHERE lane_id = lane.id AND {WAITING}),
        lane.held_because, workspace.plan, workspace.daily_limit, carrier.workspace_id IS NULL,
        carrier.limit_per_minute, carrier.limit_per_hour, carrier.limit_per_day,
        (SELECT value FROM postroom_systemparameter WHERE workspace_id = workspace.id AND key = %s),
        (SELECT value FROM postroom_systemparameter WHERE workspace_id = workspace.id AND key = %s),
        lane.released_until
    FROM hop JOIN postroom_lane lane ON lane.id = hop.lane_id
    JOIN postroom_mailserver carrier ON carrier.id = COALESCE(lane.via_id, lane.server_id)
    JOIN postroom_workspace workspace ON workspace.id = lane.workspace_id
    WHERE %s IS NULL OR carrier.id = %s
    """
