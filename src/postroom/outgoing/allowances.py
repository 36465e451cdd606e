"""What is used of a limit: a row per workspace and day, or per server and window, counted exactly.

A claim locks the rows it needs, takes at most what is left and adds it, all in its own transaction. Whatever
did not leave gives its place back. Rows are always locked in the order of their ids.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from postroom import engine
from postroom.outgoing.dialects import is_postgres
from postroom.outgoing.models import Allowance, Lane, MailServer
from postroom.workspaces import plans

Unit = Allowance.Unit
DAILY_LIMIT = "daily_limit"
URGENT_SHARE = "daily_limit_urgent_share"
RATE_LIMIT = "rate_limit"
DAILY_HOLDS = (DAILY_LIMIT, URGENT_SHARE)
LIMIT_HOLDS = (*DAILY_HOLDS, RATE_LIMIT)
LENGTHS = {Unit.MINUTE: timedelta(minutes=1), Unit.HOUR: timedelta(hours=1), Unit.DAY: timedelta(days=1)}
KEPT, WINDOWS_KEPT = timedelta(days=62), timedelta(days=2)


class Account(NamedTuple):
    """Whose use is counted in which period: a workspace's or a server's, the other is None."""

    workspace_id: int | None
    server_id: int | None
    unit: str
    starts_at: datetime


class Place(NamedTuple):
    """What one claimed Email took: of a workspace's day, and of its server's windows at `claimed_at`.

    None: nothing was counted there.
    """

    workspace_id: int
    quota_day: date | None
    server_id: int
    claimed_at: datetime | None

    def accounts(self) -> list[Account]:
        """Where it is counted."""
        of_server = server_accounts(self.server_id, self.claimed_at) if self.claimed_at else []
        return [*of_server, *([quota_account(self.workspace_id, self.quota_day)] if self.quota_day else [])]


class Crossing(NamedTuple):
    """A workspace has just used most of its day's limit, or all of it."""

    workspace_id: int
    is_all: bool
    day_started_at: datetime


def quota_account(workspace_id: int, day: date) -> Account:
    """A workspace's day of the daily limit."""
    return Account(workspace_id, None, Unit.QUOTA_DAY, plans.starts_at(day))


def server_accounts(server_id: int, at: datetime, units: Iterable[str] = tuple(LENGTHS)) -> list[Account]:
    """A server's windows that an instant belongs to."""
    return [Account(None, server_id, unit, window_start(unit, at)) for unit in units]


def window_start(unit: str, at: datetime) -> datetime:
    """When the minute, hour or day (UTC) of an instant starts."""
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    length = LENGTHS[Unit(unit)]
    return midnight + (at - midnight) // length * length


def window_end(unit: str, at: datetime) -> datetime:
    """When the next one starts."""
    return window_start(unit, at) + LENGTHS[Unit(unit)]


def used_today(workspace_id: int, now: datetime) -> int:
    """How much of its daily limit a workspace has used on the day of the limit that `now` belongs to.

    What a worker has in hand counts. Nothing is counted while a workspace has no limit.
    """
    rows = _rows([quota_account(workspace_id, plans.quota_day(now))])
    return rows.values_list("used_count", flat=True).first() or 0


def rates_of(server: MailServer) -> dict[str, int]:
    """A server's own limits: how many emails a minute, an hour and a day, where there is one."""
    rates = {
        Unit.MINUTE: server.limit_per_minute,
        Unit.HOUR: server.limit_per_hour,
        Unit.DAY: server.limit_per_day,
    }
    return {unit: rate for unit, rate in rates.items() if rate is not None}


def used_of(accounts: Collection[Account]) -> dict[str, int]:
    """How much of a server's windows is used, by unit; what is missing is not used at all."""
    return dict(_rows(accounts).values_list("unit", "used_count"))


# In a claim.


class Used(NamedTuple):
    """A row that is locked, and how much of its period is used."""

    allowance_id: int
    used_count: int


def lock(accounts: Collection[Account]) -> dict[Account, Used]:
    """Lock these rows until the transaction ends, made if there were none; return what each has used.

    One statement; three where a period is new.
    """
    used = _locked(accounts)
    missing = [account for account in accounts if account not in used]
    if missing:
        missing.sort(key=lambda account: (account.workspace_id or 0, account.server_id or 0, account.unit))
        Allowance.objects.bulk_create(
            [Allowance(**each._asdict()) for each in missing], ignore_conflicts=True
        )
        used = _locked(accounts)
    return used


def add(counts: Mapping[int, int]) -> None:
    """Change locked rows, by id: add so many to each. One statement."""
    if is_postgres():
        changes = "unnest(%s::bigint[], %s::int[]) AS change(key, value)"
        values: list[Any] = [list(counts), list(counts.values())]
    else:
        changes, values = "json_each(%s) AS change", [json.dumps(counts)]
    with connection.cursor() as cursor:
        cursor.execute(_ADD.format(changes=changes), values)


_ADD = """
    UPDATE postroom_allowance SET used_count = CASE
        WHEN postroom_allowance.used_count + change.value < 0 THEN 0
        ELSE postroom_allowance.used_count + change.value END
    FROM {changes} WHERE postroom_allowance.id = CAST(change.key AS BIGINT)"""


def _locked(accounts: Collection[Account]) -> dict[Account, Used]:
    rows = _rows(accounts).select_for_update().order_by("pk")
    return {
        Account(workspace_id, server_id, unit, starts_at): Used(pk, count)
        for workspace_id, server_id, unit, starts_at, pk, count in rows.values_list(
            "workspace_id", "server_id", "unit", "starts_at", "pk", "used_count"
        )
    }


def _rows(accounts: Iterable[Account]) -> QuerySet[Allowance]:
    """Their rows; workspaces of the same day are asked for together."""
    of_day: defaultdict[datetime, list[int]] = defaultdict(list)
    found = Q(pk=None)
    for workspace_id, server_id, unit, start in accounts:
        if workspace_id is not None:
            of_day[start].append(workspace_id)
        else:
            found |= Q(workspace=None, server_id=server_id, unit=unit, starts_at=start)
    for start, workspace_ids in of_day.items():
        day = Q(server=None, unit=Unit.QUOTA_DAY, starts_at=start)
        found |= day & Q(workspace_id__in=workspace_ids)
    return Allowance.objects.filter(found)


# Giving back.


def give_back(places: Iterable[Place]) -> None:
    """Give places back that were reserved and not used, and let what was held for want of them go.

    Call it in the transaction that says what became of the Emails, after they are locked. Costs nothing if
    nothing was counted.
    """
    counts = Counter(account for place in places for account in place.accounts())
    if not counts:
        return
    if rows := _locked(counts):
        add({used.allowance_id: -counts[account] for account, used in rows.items()})
    release_lanes(
        workspace_ids={account.workspace_id for account in counts if account.workspace_id},
        server_ids={account.server_id for account in counts if account.server_id},
    )


def release_lanes(*, workspace_ids: Collection[int] = (), server_ids: Collection[int] = ()) -> None:
    """End the holds of the daily limit in these workspaces and of a rate limit at these servers, and wake."""
    lanes = Lane.objects.alias(carrier=Coalesce("via_id", "server_id"))
    held = lanes.filter(
        Q(workspace_id__in=workspace_ids, held_because__in=DAILY_HOLDS)
        | Q(carrier__in=server_ids, held_because=RATE_LIMIT)
    )
    if held.update(held_until=None, held_because=""):
        shared = MailServer.objects.filter(workspace=None).values_list("pk", flat=True)
        for server_id in {*server_ids, *(shared if workspace_ids else ())}:
            transaction.on_commit(partial(engine.wake, MailServer(pk=server_id).engine_lane))


def drop_old(now: datetime) -> int:
    """Drop what no limit looks at any more; return how many rows went."""
    old = Allowance.objects.filter(starts_at__lt=now - KEPT)
    passed = Allowance.objects.filter(unit__in=(Unit.MINUTE, Unit.HOUR), starts_at__lt=now - WINDOWS_KEPT)
    return (old | passed).delete()[0]
