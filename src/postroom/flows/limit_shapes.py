"""What programs are shown of daily limits: the same shapes on the command line (`--json`) and in the API.

Times are aware and in UTC; a limit of None is none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from django.db.models import QuerySet

from postroom.flows import features, limits
from postroom.workspaces import parameters, plans
from postroom.workspaces.models import LimitRequest, Member, Workspace


@dataclass(frozen=True, slots=True)
class LimitRequestShape:
    """Somebody asked for a higher limit. `state`: open, granted, declined; `answer`: the operator's line."""

    id: str
    workspace: str
    wanted: int
    reason: str
    asked_by: str | None
    asked_at: datetime
    recommended: int
    state: str
    decided_at: datetime | None
    granted: int | None
    answer: str


@dataclass(frozen=True, slots=True)
class QuotaShape:
    """The daily limit of a workspace as it stands today.

    `used` counts recipients handed to the shared relay (nothing is counted without a limit); the day ends
    at `resets_at`. `held` emails wait for that, and the last of them leaves about `held_last_at` (None: none
    waits). `failed` emails were over the limit and wait for Retry. `warning`: at least 80 % are used.
    `urgent_kept` of the limit bulk mail leaves alone. `auto_resume`: what is over it waits, else it fails.
    """

    workspace: str
    plan: str
    limit: int | None
    used: int
    left: int | None
    resets_at: datetime
    held: int
    held_last_at: datetime | None
    failed: int
    warning: bool
    exhausted: bool
    urgent_kept: int
    auto_resume: bool
    request: LimitRequestShape | None


@dataclass(frozen=True, slots=True)
class FactorsShape:
    """What a decision on a limit rests on; `bounce_rate` is a share of 1."""

    member_count: int
    feature_names: list[str]
    record_model_count: int
    sent_30_days: int
    bounced_30_days: int
    bounce_rate: float
    has_aliases: bool
    has_own_domain: bool
    is_domain_set_up: bool
    has_own_server: bool


@dataclass(frozen=True, slots=True)
class TenantQuotaShape:
    """A workspace's limit as operators see it; `own_limit` is what one set (None: that of the plan)."""

    quota: QuotaShape
    name: str
    own_limit: int | None
    features: list[str]
    factors: FactorsShape
    recommended: int


def shape_of_quota(workspace: Workspace) -> QuotaShape:
    """How much of its limit a workspace has used."""
    usage = limits.usage(workspace)
    open_request = requests_to_show().filter(workspace=workspace, decided_at=None).first()
    return QuotaShape(
        workspace=workspace.slug,
        plan=workspace.plan,
        limit=usage.limit,
        used=usage.used,
        left=usage.left,
        resets_at=usage.resets_at,
        held=usage.held_count,
        held_last_at=usage.held_last_at,
        failed=limits.failed_count(workspace),
        warning=usage.is_warning,
        exhausted=usage.is_exhausted,
        urgent_kept=usage.urgent_kept,
        auto_resume=parameters.value(workspace.pk, plans.AUTO_RESUME),
        request=shape_of_request(open_request) if open_request else None,
    )


def shape_of_tenant(workspace: Workspace) -> TenantQuotaShape:
    """A workspace for operators, with what a decision rests on."""
    factors = limits.factors_of(workspace)
    return TenantQuotaShape(
        quota=shape_of_quota(workspace),
        name=workspace.name,
        own_limit=workspace.daily_limit,
        features=features.names_in(workspace),
        factors=FactorsShape(**{**asdict(factors), "feature_names": list(factors.feature_names)}),
        recommended=plans.recommend(factors),
    )


def requests_to_show() -> QuerySet[LimitRequest]:
    """Requests with what `shape_of_request` reads loaded along."""
    return LimitRequest.objects.select_related("workspace", "member__user")


def shape_of_request(asked: LimitRequest) -> LimitRequestShape:
    """A request from `requests_to_show`."""
    return LimitRequestShape(
        id=f"lr_{asked.pk}",
        workspace=asked.workspace.slug,
        wanted=asked.wanted_limit,
        reason=asked.reason,
        asked_by=_address_of(asked.member),
        asked_at=asked.created_at,
        recommended=asked.recommended_limit,
        state=_state_of(asked),
        decided_at=asked.decided_at,
        granted=asked.granted_limit,
        answer=asked.answer,
    )


def _address_of(member: Member | None) -> str | None:
    return member.user.email if member else None


def _state_of(asked: LimitRequest) -> str:
    if asked.decided_at is None:
        return "open"
    return "declined" if asked.granted_limit is None else "granted"
