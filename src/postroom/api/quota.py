"""/quota: the daily limit of the key's workspace; /workspaces: those of all, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from postroom.api.callers import key_of
from postroom.api.once import once
from postroom.api.paging import DEFAULT_LIMIT, page_of
from postroom.api.problems import Problem, ProblemShape, not_found, only_for
from postroom.api.records import READ_PROBLEMS, WRITE_PROBLEMS, Limit
from postroom.api.shapes import Asked
from postroom.flows import features, limit_requests, limits
from postroom.flows.limit_shapes import (
    LimitRequestShape,
    QuotaShape,
    TenantQuotaShape,
    requests_to_show,
    shape_of_quota,
    shape_of_request,
    shape_of_tenant,
)
from postroom.workspaces.models import LimitRequest, Member, Workspace

router = Router(tags=["quota"])
Figure = Annotated[int, Field(ge=1, le=10_000_000)]


class LimitToAsk(Asked):
    """A higher limit is asked for."""

    wanted: Figure
    reason: str = Field(min_length=1, max_length=2000, description="The operator reads this.")


class QuotaToSet(Asked):
    """What an operator changes; what is left out stays. `limit` null: that of the plan."""

    plan: Literal["paid", "one_app_free", "trial", "migrating", "unlimited"] | None = None
    limit: Figure | None = None
    features: list[str] | None = Field(None, max_length=20)


class Decision(Asked):
    """What becomes of the open request; `granted` null declines it."""

    granted: Figure | None
    answer: str = Field("", max_length=limit_requests.ANSWER_LENGTH, description="Whoever asked reads this.")


@dataclass(frozen=True, slots=True)
class LimitRequestPage:
    """Requests, newest first; `next_cursor` is None on the last page."""

    data: list[LimitRequestShape]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class TenantQuotaPage:
    """Workspaces, newest first; `next_cursor` is None on the last page."""

    data: list[QuotaShape]
    next_cursor: str | None


@router.get("/quota", response={200: QuotaShape, 401: ProblemShape})
def get_quota(request: HttpRequest) -> QuotaShape:
    """How much of the daily limit is used, what waits because of it, and when it starts again."""
    return shape_of_quota(key_of(request).workspace)


@router.get("/quota/requests", response={200: LimitRequestPage, 401: ProblemShape, 422: ProblemShape})
def list_requests(request: HttpRequest, cursor: str = "", limit: Limit = DEFAULT_LIMIT) -> LimitRequestPage:
    """What this workspace has asked for, the newest first, and what was decided."""
    mine = requests_to_show().filter(workspace=key_of(request).workspace)
    rows, next_cursor = page_of(mine, cursor, limit)
    return LimitRequestPage([shape_of_request(row) for row in rows], next_cursor)


@router.post("/quota/requests", response={201: LimitRequestShape, **WRITE_PROBLEMS})
def ask(request: HttpRequest, payload: LimitToAsk) -> HttpResponse:
    """Ask the operators for a higher limit; one request can be open at a time."""
    key = key_of(request)

    def asked() -> LimitRequestShape:
        made = limit_requests.ask(key.workspace, payload.wanted, payload.reason, by=key.member)
        return shape_of_request(requests_to_show().get(pk=made.pk))

    return once(request, 201, LimitRequestShape, asked)


@router.delete("/quota/requests/open", response={200: QuotaShape, **WRITE_PROBLEMS})
def withdraw(request: HttpRequest) -> QuotaShape:
    """Take the open request back, so that it can be asked anew. Only for administrators."""
    key = key_of(request)
    limit_requests.withdraw(key.workspace, by=key.member)
    return shape_of_quota(key.workspace)


@router.get("/workspaces", response={200: TenantQuotaPage, **READ_PROBLEMS})
def list_workspaces(request: HttpRequest, cursor: str = "", limit: Limit = DEFAULT_LIMIT) -> TenantQuotaPage:
    """The limits of all workspaces of the installation. Only for keys that act as an operator."""
    _operator_of(request)
    rows, next_cursor = page_of(Workspace.objects.all(), cursor, limit)
    return TenantQuotaPage([shape_of_quota(row) for row in rows], next_cursor)


@router.get("/workspaces/{slug}/quota", response={200: TenantQuotaShape, **READ_PROBLEMS})
def get_tenant(request: HttpRequest, slug: str) -> TenantQuotaShape:
    """A workspace's limit with what a decision rests on. Only for keys that act as an operator."""
    _operator_of(request)
    return shape_of_tenant(_tenant(slug))


@router.patch("/workspaces/{slug}/quota", response={200: TenantQuotaShape, **READ_PROBLEMS})
def set_tenant(request: HttpRequest, slug: str, payload: QuotaToSet) -> TenantQuotaShape:
    """Set plan, limit or features; what waited leaves at once. Only for keys that act as an operator."""
    by, tenant = _operator_of(request), _tenant(slug)
    given = payload.model_fields_set
    with transaction.atomic():
        if given & {"plan", "limit"}:
            limit = payload.limit if "limit" in given else tenant.daily_limit
            limits.set_limit(tenant, limit, payload.plan, by=by)
        if payload.features is not None:
            features.set_features(tenant, payload.features, by=by)
    return shape_of_tenant(_tenant(slug))


@router.post("/workspaces/{slug}/quota/decision", response={200: TenantQuotaShape, **WRITE_PROBLEMS})
def decide(request: HttpRequest, slug: str, payload: Decision) -> TenantQuotaShape:
    """Grant or decline the open request of a workspace. Only for keys that act as an operator."""
    by, tenant = _operator_of(request), _tenant(slug)
    asked = LimitRequest.objects.filter(workspace=tenant, decided_at=None).first()
    if asked is None:
        raise Problem("refused", f"{slug} has no open request.")
    if payload.granted is None:
        limit_requests.decline(asked, by=by, answer=payload.answer)
    else:
        limit_requests.grant(asked, payload.granted, by=by, answer=payload.answer)
    return shape_of_tenant(_tenant(slug))


def _operator_of(request: HttpRequest) -> Member:
    """To everybody else there are no other workspaces."""
    member = key_of(request).member
    if not member.is_operator:
        raise only_for("an operator")
    return member


def _tenant(slug: str) -> Workspace:
    found = Workspace.objects.filter(slug=slug).first()
    if found is None:
        raise not_found()
    return found
