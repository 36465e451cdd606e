"""What the limits leave to one claim, reserved in its transaction: no number of workers exceeds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce

from postroom.conversations.models.records import Stream
from postroom.outgoing import allowances, tallies
from postroom.outgoing.allowances import Account, Crossing, Used
from postroom.outgoing.dialects import wait_for_locks
from postroom.outgoing.models import Email, FailureKind, Lane, State
from postroom.outgoing.tallies import Move
from postroom.outgoing.waiting import Waiting
from postroom.workspaces import plans

Shares = list[tuple[int, int]]
TURNED_AWAY = 500
LONGEST_LOCK_SECONDS = 5


class Budget:
    """The limits that one claim of a server meets, with their rows locked; nothing is asked if there is none.

    `lanes` are those that would get a place. Use it inside the claim's transaction. Raises OperationalError
    (`dialects.is_lock_timeout`) if somebody keeps one of the rows locked for more than LONGEST_LOCK_SECONDS.
    """

    def __init__(self, lanes: Sequence[Waiting], now: datetime) -> None:
        self.now = now
        self.day = plans.quota_day(now)
        self.lanes = {lane.lane_id: lane for lane in lanes}
        self.rates = {
            account: limit
            for lane in lanes[:1]
            for unit, limit in lane.rates
            for account in allowances.server_accounts(lane.server_id, now, [unit])
        }
        accounts = {*self.rates, *(self._account(lane.workspace_id) for lane in self._limited())}
        self.used = self._locked(accounts) if accounts else {}

    @property
    def places(self) -> int | None:
        """How many Emails the server's limits leave; None: they are none."""
        left = [max(0, limit - self.used[account].used_count) for account, limit in self.rates.items()]
        return min(left, default=None)

    @property
    def counted_lane_ids(self) -> list[int]:
        """The lanes whose Emails the daily limit counts."""
        return [lane.lane_id for lane in self._limited()]

    def clip(self, shares: Shares) -> Shares:
        """The same shares, in their order, as far as each workspace's day leaves room."""
        granted: Counter[int] = Counter()
        clipped = []
        for lane_id, places in shares:
            lane = self.lanes[lane_id]
            if lane.limit is not None:
                places = max(0, min(places, self._room(lane) - granted[lane.workspace_id]))
                granted[lane.workspace_id] += places
            if places:
                clipped.append((lane_id, places))
        return clipped

    def count(self, workspace_ids: Sequence[int]) -> tuple[Crossing, ...]:
        """Count what was leased, given as the workspace of each Email; return whose day filled up by it."""
        taken = Counter(workspace_ids)
        limited = {lane.workspace_id: lane.limit for lane in self._limited() if lane.limit is not None}
        changes = {self.used[account].allowance_id: len(workspace_ids) for account in self.rates}
        changes |= {self.used[self._account(pk)].allowance_id: taken[pk] for pk in limited if taken[pk]}
        if workspace_ids and changes:
            allowances.add(changes)
        return tuple(
            Crossing(pk, is_all, plans.starts_at(self.day))
            for pk, limit in limited.items()
            if (is_all := _crossed(self._used(pk), taken[pk], limit)) is not None
        )

    def over(self) -> list[Waiting]:
        """The lanes whose stream had no room before this claim took anything."""
        return [lane for lane in self._limited() if self._room(lane) <= 0]

    def full_until(self) -> datetime | None:
        """When the server takes more, if one of its windows is full now."""
        return max(
            (
                allowances.window_end(account.unit, self.now)
                for account, limit in self.rates.items()
                if self.used[account].used_count >= limit
            ),
            default=None,
        )

    def is_used_up(self, lane: Waiting) -> bool:
        """Is the whole of the day's limit used, and not only what bulk mail may take of it?"""
        return lane.limit is not None and self._used(lane.workspace_id) >= lane.limit

    @staticmethod
    def _locked(accounts: Collection[Account]) -> dict[Account, Used]:
        wait_for_locks(LONGEST_LOCK_SECONDS)
        return allowances.lock(accounts)

    def _limited(self) -> list[Waiting]:
        return [lane for lane in self.lanes.values() if lane.limit is not None]

    def _room(self, lane: Waiting) -> int:
        return lane.ceiling - self._used(lane.workspace_id)

    def _used(self, workspace_id: int) -> int:
        return self.used[self._account(workspace_id)].used_count

    def _account(self, workspace_id: int) -> Account:
        return allowances.quota_account(workspace_id, self.day)


def _crossed(before: int, taken: int, limit: int) -> bool | None:
    """True: the limit is reached now; False: most of it; None: neither, or it was before."""
    after = before + taken
    if before < limit <= after:
        return True
    return False if plans.is_near(after, limit) and not plans.is_near(before, limit) else None


# What there is no room for.


def hold_over(budget: Budget) -> dict[int, datetime]:
    """Hold what the limits leave no room for until there is some, and end such holds whose time has passed.

    Returns until when which of the budget's lanes wait now. Mail of a workspace that rather has it fail is
    not held: `turn_away` is for that.
    """
    held: dict[int, datetime] = {}
    for lane in budget.over():
        if lane.is_auto_resumed and lane.lane_id not in held:
            held |= _hold_day(budget, lane)
    full_until = budget.full_until()
    if full_until is not None:
        held |= _hold_server(budget, full_until)
    _end_passed(budget, held)
    return held


def _hold_day(budget: Budget, lane: Waiting) -> dict[int, datetime]:
    """Hold the workspace's counted lanes: all of them, or those of bulk mail while urgent mail may still go.

    Not if the limit was changed since this claim read it.
    """
    is_used_up, until = budget.is_used_up(lane), plans.resets_at(budget.now)
    because = allowances.DAILY_LIMIT if is_used_up else allowances.URGENT_SHARE
    streams = [Stream.URGENT, Stream.BULK] if is_used_up else [Stream.BULK]
    same_limit = {"workspace__plan": lane.plan, "workspace__daily_limit": lane.own_limit}
    may_be_held = _is_free(budget.now) | Q(held_because__in=allowances.DAILY_HOLDS)
    lanes = _carried_by(lane.server_id).filter(
        may_be_held, workspace_id=lane.workspace_id, stream__in=streams, **same_limit
    )
    if not lanes.update(held_until=until, held_because=because):
        return {}
    return {
        each.lane_id: until
        for each in budget.lanes.values()
        if each.workspace_id == lane.workspace_id and each.stream in streams
    }


def _hold_server(budget: Budget, until: datetime) -> dict[int, datetime]:
    server_id = next(iter(budget.lanes.values())).server_id
    free = _carried_by(server_id).filter(_is_free(budget.now))
    free.update(held_until=until, held_because=allowances.RATE_LIMIT)
    return dict.fromkeys(budget.lanes, until)


def _end_passed(budget: Budget, held: Mapping[int, datetime]) -> None:
    """A hold that is over, or that another server's limit caused, is shown to nobody any more."""
    passed = [
        pk
        for pk, lane in budget.lanes.items()
        if lane.held_because in allowances.LIMIT_HOLDS and pk not in held
    ]
    if passed:
        elsewhere = Q(held_because__in=allowances.DAILY_HOLDS) & ~Q(pk__in=budget.counted_lane_ids)
        over = Lane.objects.filter(Q(held_until__lte=budget.now) | elsewhere, pk__in=passed)
        over.update(held_until=None, held_because="")


def turn_away(budget: Budget) -> frozenset[int]:
    """Fail what is due over the daily limit where the workspace wants that, up to TURNED_AWAY Emails.

    Returns the messages that have a new Delivery Failed.
    """
    failed: set[int] = set()
    for lane in budget.over():
        if not lane.is_auto_resumed:
            failed |= _fail(lane, _why(lane, budget), budget.now)
    return frozenset(failed)


def _fail(lane: Waiting, why: str, now: datetime) -> set[int]:
    due = Email.objects.waiting().filter(lane_id=lane.lane_id, due_at__lte=lane.cutoff(now))
    first = due.order_by("due_at", "pk")
    locked = first.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
    rows = list(locked.values_list("pk", "message_id")[:TURNED_AWAY])
    Email.objects.filter(pk__in=[pk for pk, _ in rows]).update(
        state=State.FAILED, failure_kind=FailureKind.DAILY_LIMIT, failure_text=why, is_listed=True
    )
    tallies.move(Move(message_id, State.OUTGOING, State.FAILED) for _, message_id in rows)
    return {message_id for _, message_id in rows}


def _why(lane: Waiting, budget: Budget) -> str:
    resets_at = f"{plans.resets_at(budget.now):%Y-%m-%d %H:%M} UTC"
    again = f"Retry works from {resets_at}, or as soon as the limit is higher."
    if budget.is_used_up(lane):
        return f"The daily limit of {lane.limit} emails is used up. {again}"
    return (
        f"Bulk mail may use {lane.ceiling} of the daily limit of {lane.limit} emails, and these are used up. "
        f"{again}"
    )


def _carried_by(server_id: int) -> QuerySet[Lane]:
    return Lane.objects.alias(carrier_id=Coalesce("via_id", "server_id")).filter(carrier_id=server_id)


def _is_free(now: datetime) -> Q:
    """No other reason holds it now."""
    return Q(held_until=None) | Q(held_until__lte=now)
