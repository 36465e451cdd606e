"""Plan and limit: what a workspace has used today, and asking for more."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from postroom.flows import limit_requests, limits
from postroom.web.limit_forms import AskForm
from postroom.web.limits_shown import factors_shown, is_resumed, requests_of
from postroom.web.membership import MemberRequest, for_members
from postroom.workspaces import plans
from postroom.workspaces.models import Workspace
from postroom.workspaces.refusals import RequestRefused

_page = require_http_methods(["GET", "HEAD", "POST"])


@_page
@for_members
def limit(request: MemberRequest) -> HttpResponse:
    """What is used and what counts, for every member; administrators ask for more here."""
    here = request.member.workspace
    if request.method == "POST" and not request.member.is_admin:
        raise Http404
    form = AskForm(request.POST or None, limit=plans.limit_of(here))
    if form.is_valid() and _asked(request, form):
        return redirect("limit")
    context: dict[str, Any] = {"usage": limits.usage(here), "is_resumed": is_resumed(here), "form": form}
    context |= _requests(request, here)
    return render(request, "postroom/settings/limit.html", context, status=422 if form.errors else 200)


@require_POST
@for_members
def withdraw(request: MemberRequest) -> HttpResponse:
    """Take the open request back."""
    if not request.member.is_admin:
        raise Http404
    try:
        limit_requests.withdraw(request.member.workspace, by=request.member)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, _("Withdrawn. You can ask anew."))
    return redirect(f"{reverse('limit')}#ask")


def _asked(request: MemberRequest, form: AskForm) -> bool:
    wanted, reason = form.cleaned_data["wanted"], form.cleaned_data["reason"]
    try:
        limit_requests.ask(request.member.workspace, wanted, reason, by=request.member)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return False
    messages.success(request, _("The operators have been told. Their answer comes to your inbox."))
    return True


def _requests(request: MemberRequest, here: Workspace) -> dict[str, Any]:
    shown = requests_of(here)
    return {**shown, **factors_shown(here)} if request.member.is_admin else shown
