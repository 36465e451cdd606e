"""Technical → Automation: Scheduled Actions."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from postroom.flows import acting, action_settings
from postroom.flows.action_shapes import actions_to_show
from postroom.schedule.models import ScheduledAction
from postroom.web.action_forms import ActionForm
from postroom.web.actions_shown import action_row, action_rows
from postroom.web.membership import MemberRequest, for_developers
from postroom.workspaces import stations
from postroom.workspaces.refusals import RequestRefused


@require_safe
@for_developers
def technical(request: MemberRequest) -> HttpResponse:
    """Where Technical begins."""
    return redirect("actions")


@require_safe
@for_developers
def actions(request: MemberRequest) -> HttpResponse:
    """All actions of the workspace: how they are, and when they run."""
    rows = action_rows(actions_to_show(request.member), timezone.now())
    context = {"rows": rows, "is_engine_missing": not stations.is_any_draining()}
    return render(request, "postroom/technical/actions.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@for_developers
def action(request: MemberRequest, pk: int) -> HttpResponse:
    """One of them: what it did, what is planned, and when it is to run."""
    row = _seen(request, pk)
    form = ActionForm(request.POST or None, action=row)
    if form.is_valid() and _stored(request, row, form):
        return redirect("action", pk)
    context = {
        "row": action_row(_seen(request, pk), timezone.now()),
        "form": form,
        "is_engine_missing": not stations.is_any_draining(),
    }
    return render(request, "postroom/technical/action.html", context, status=422 if form.errors else 200)


@require_POST
@for_developers
def run_action(request: MemberRequest, pk: int) -> HttpResponse:
    """Run Manually. Where that is not wise, a page says so first and asks again."""
    row = action_row(_seen(request, pk), timezone.now())
    if row.warning and not request.POST.get("confirmed"):
        return render(request, "postroom/technical/run.html", {"row": row})
    try:
        acting.run_now(row.action, request.member)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    else:
        words = _("%(action)s runs now. What it did is shown here once it has ended.")
        messages.success(request, words % {"action": row.shape.name})
    return redirect("action", pk)


def _seen(request: MemberRequest, pk: int) -> ScheduledAction:
    return get_object_or_404(actions_to_show(request.member), pk=pk)


def _stored(request: MemberRequest, row: ScheduledAction, form: ActionForm) -> bool:
    """False if it was refused; the form then says why, and nothing is changed."""
    try:
        warnings = action_settings.change(row, request.member, **form.changes)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return False
    messages.success(request, _("Saved."))
    for warning in warnings:
        messages.warning(request, warning)
    return True
