"""The daily limit as pages show it: banners, factors, requests, and the list that operators see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from postroom.flows import features, limits
from postroom.outgoing import allowances
from postroom.outgoing.models import Allowance, Email, Lane, State
from postroom.web.counting import Count, count_up_to
from postroom.web.recommending import percent_of, reasons_for
from postroom.workspaces import parameters, plans
from postroom.workspaces.models import LimitRequest, Member, Workspace

DECIDED_SHOWN = 5
COUNTED = 1000  # so many waiting emails of a workspace are counted


@dataclass(frozen=True, slots=True)
class LimitBanner:
    """What a banner says. `is_resumed`: what is over the limit waits, instead of failing."""

    usage: limits.Usage
    is_resumed: bool


def limit_banner(member: Member, now: datetime) -> LimitBanner | None:
    """What everybody (used up) or the administrators (nearly) must know on every page; None is nothing.

    A workspace without a limit costs no question, one far from it a single one.
    """
    limit = plans.limit_of(member.workspace)
    if limit is None or not plans.is_near(allowances.used_today(member.workspace_id, now), limit):
        return None
    usage = limits.usage(member.workspace)
    if not (usage.is_exhausted or member.is_admin):
        return None
    return LimitBanner(usage, is_resumed(member.workspace))


def is_resumed(workspace: Workspace) -> bool:
    """Does what is over the limit wait and leave by itself? Else it becomes Delivery Failed."""
    return bool(parameters.value(workspace.pk, plans.AUTO_RESUME))


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One workspace in the operator's list. `limit` None: it has none."""

    workspace: Workspace
    limit: int | None
    used: int
    held: Count
    is_asking: bool

    @property
    def is_exhausted(self) -> bool:
        """Does nothing more leave today?"""
        return self.limit is not None and self.used >= self.limit

    @property
    def is_warning(self) -> bool:
        """Is it nearly used up?"""
        return self.limit is not None and plans.is_near(self.used, self.limit)


def rows_of(workspaces: Sequence[Workspace], now: datetime) -> list[TenantRow]:
    """The rows of the list; three questions for all of them, and one for each workspace whose mail waits."""
    used = _used(workspaces, now)
    held = _held_lanes(workspaces, now)
    asking = set(
        LimitRequest.objects.filter(workspace__in=workspaces, decided_at=None).values_list(
            "workspace_id", flat=True
        )
    )
    return [
        TenantRow(
            each, plans.limit_of(each), used.get(each.pk, 0), _held(held.get(each.pk)), each.pk in asking
        )
        for each in workspaces
    ]


def _used(workspaces: Sequence[Workspace], now: datetime) -> dict[int, int]:
    starts_at = plans.starts_at(plans.quota_day(now))
    rows = Allowance.objects.filter(
        workspace__in=workspaces, server=None, unit=Allowance.Unit.QUOTA_DAY, starts_at=starts_at
    )
    return dict(rows.values_list("workspace_id", "used_count"))


def _held_lanes(workspaces: Sequence[Workspace], now: datetime) -> dict[int, list[int]]:
    lanes = Lane.objects.filter(
        workspace__in=workspaces, held_until__gt=now, held_because__in=allowances.DAILY_HOLDS
    )
    found: dict[int, list[int]] = {}
    for workspace_id, lane_id in lanes.values_list("workspace_id", "pk"):
        found.setdefault(workspace_id, []).append(lane_id)
    return found


def _held(lane_ids: list[int] | None) -> Count:
    if not lane_ids:
        return Count(0)
    return count_up_to(COUNTED, Email.objects.filter(lane__in=lane_ids, state=State.OUTGOING, lease=""))


def requests_of(workspace: Workspace) -> dict[str, Any]:
    """The open request (None: there is none) with who asked, and the last ones that were decided."""
    rows = LimitRequest.objects.filter(workspace=workspace).select_related("member__contact", "member__user")
    open_request = rows.filter(decided_at=None).first()
    return {
        "open_request": open_request,
        "asked_by": _name_of(open_request.member) if open_request and open_request.member else "",
        "decided": list(rows.exclude(decided_at=None).order_by("-decided_at")[:DECIDED_SHOWN]),
    }


def factors_shown(workspace: Workspace) -> dict[str, Any]:
    """What a decision rests on, with the figures in words."""
    factors = limits.factors_of(workspace)
    return {
        "factors": factors,
        "features": [features.KNOWN.get(name, name) for name in factors.feature_names],
        "bounce_percent": percent_of(factors.bounce_rate),
        "recommended": plans.recommend(factors),
        "reasons": reasons_for(factors),
    }


def _name_of(member: Member) -> str:
    return str(getattr(member, "contact", None) or member.user)
