"""The operator's pages: every workspace with its plan and limit, and what members ask for."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from postroom.flows import features, limit_requests, limits
from postroom.web.limit_forms import DecisionForm, PlanForm
from postroom.web.limits_shown import factors_shown, requests_of, rows_of
from postroom.web.membership import MemberRequest, for_operators
from postroom.web.paging import newest_first
from postroom.workspaces import plans
from postroom.workspaces.models import LimitRequest, Workspace
from postroom.workspaces.refusals import RequestRefused

ASKING_SHOWN = 50


@require_safe
@for_operators
def workspaces(request: MemberRequest) -> HttpResponse:
    """All workspaces of the installation, newest first, those that ask for more on top."""
    wanted, now = request.GET.get("q", "").strip(), timezone.now()
    named = Q(name__icontains=wanted) | Q(slug__icontains=wanted)
    found = newest_first(Workspace.objects.filter(named), request.GET.get("before"))
    asking = LimitRequest.objects.filter(decided_at=None).select_related("workspace").order_by("pk")
    context = {
        "rows": rows_of(found.rows, now),
        "before": found.before,
        "q": wanted,
        "asking": asking[:ASKING_SHOWN],
        "resets_at": plans.resets_at(now),
    }
    return render(request, "postroom/operator/workspaces.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_operators
def workspace(request: MemberRequest, slug: str) -> HttpResponse:
    """One workspace: what it uses, what a decision rests on, its plan and figure."""
    tenant = get_object_or_404(Workspace, slug=slug)
    form = PlanForm(request.POST or None, initial=_plan_of(tenant))
    if form.is_valid() and _stored(request, tenant, form):
        return redirect("operator_workspace", slug)
    return _shown(request, tenant, form=form)


@require_POST
@for_operators
def decide(request: MemberRequest, slug: str) -> HttpResponse:
    """Grant or decline the open request that was seen."""
    tenant = get_object_or_404(Workspace, slug=slug)
    form = DecisionForm(request.POST)
    if form.is_valid() and _decided(request, tenant, form):
        return redirect("operator_workspace", slug)
    return _shown(request, tenant, decision=form)


def _shown(
    request: MemberRequest,
    tenant: Workspace,
    *,
    form: PlanForm | None = None,
    decision: DecisionForm | None = None,
) -> HttpResponse:
    tenant.refresh_from_db()
    shown = requests_of(tenant)
    context: dict[str, Any] = {
        "tenant": tenant,
        "usage": limits.usage(tenant),
        "form": form or PlanForm(initial=_plan_of(tenant)),
        "decision": decision or _decision_on(shown["open_request"]),
        "floor": plans.FLOOR,
        **factors_shown(tenant),
        **shown,
    }
    is_refused = bool((form and form.errors) or (decision and decision.errors))
    return render(request, "postroom/operator/workspace.html", context, status=422 if is_refused else 200)


def _plan_of(tenant: Workspace) -> dict[str, Any]:
    return {"plan": tenant.plan, "limit": tenant.daily_limit, "features": features.names_in(tenant)}


def _decision_on(asked: LimitRequest | None) -> DecisionForm | None:
    return DecisionForm(initial={"granted": asked.wanted_limit}) if asked else None


def _stored(request: MemberRequest, tenant: Workspace, form: PlanForm) -> bool:
    said = form.cleaned_data
    try:
        with transaction.atomic():
            limits.set_limit(tenant, said["limit"], said["plan"], by=request.member)
            features.set_features(tenant, said["features"], by=request.member)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return False
    messages.success(request, _("Saved. What waited for it leaves now, as far as the limit allows."))
    return True


def _decided(request: MemberRequest, tenant: Workspace, form: DecisionForm) -> bool:
    said = form.cleaned_data
    asked = LimitRequest.objects.filter(workspace=tenant, pk=said["request"], decided_at=None).first()
    if asked is None:
        form.add_error(None, _("This request has been decided meanwhile."))
        return False
    try:
        if said["decision"] == "grant":
            limit_requests.grant(asked, said["granted"], by=request.member, answer=said["answer"])
        else:
            limit_requests.decline(asked, by=request.member, answer=said["answer"])
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return False
    messages.success(request, _("Decided. Whoever asked has been told."))
    return True
