"""Settings of the workspace: name, domains, parameters."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from postroom.flows import arranging
from postroom.web.domain_shown import shown
from postroom.web.forms import DomainForm, ParameterForm, WorkspaceForm
from postroom.web.membership import MemberRequest, for_admins
from postroom.workspaces import parameters
from postroom.workspaces.models import MailDomain
from postroom.workspaces.refusals import RequestRefused

_page = require_http_methods(["GET", "HEAD", "POST"])


@_page
@for_admins
def workspace(request: MemberRequest) -> HttpResponse:
    """The workspace's name and its time zone."""
    mine = request.member.workspace
    form = WorkspaceForm(request.POST or None, initial={"name": mine.name, "time_zone": mine.time_zone})
    if form.is_valid():
        with transaction.atomic():
            arranging.rename(mine, form.cleaned_data["name"], by=request.member)
            arranging.set_time_zone(mine, form.cleaned_data["time_zone"], by=request.member)
        messages.success(request, _("Saved."))
        return redirect("settings")
    status = 422 if form.errors else 200
    return render(request, "postroom/settings/workspace.html", {"form": form}, status=status)


@_page
@for_admins
def domains(request: MemberRequest) -> HttpResponse:
    """The mail domains, and a form for another."""
    rows = MailDomain.objects.filter(workspace=request.member.workspace).order_by("-is_default", "domain")
    form = DomainForm(request.POST or None)
    if form.is_valid() and _stored(request, form):
        return redirect("domains")
    return render(request, "postroom/settings/domains.html", {"domains": rows, "form": form})


@_page
@for_admins
def domain(request: MemberRequest, pk: int) -> HttpResponse:
    """One mail domain."""
    row = get_object_or_404(MailDomain, pk=pk, workspace=request.member.workspace)
    if request.POST.get("default"):
        arranging.make_default(row, by=request.member)
        return redirect("domains")
    form = DomainForm(request.POST or None, instance=row)
    if form.is_valid() and _stored(request, form):
        return redirect("domains")
    return render(request, "postroom/settings/domain.html", {"domain": row, "form": form, "dns": shown(row)})


@_page
@for_admins
def parameters_page(request: MemberRequest) -> HttpResponse:
    """System Parameters, in developer mode."""
    if not request.member.is_developer:
        raise Http404
    form = ParameterForm(request.POST or None)
    if form.is_valid():
        try:
            key, value = form.cleaned_data["key"], form.cleaned_data["value"].strip()
            arranging.set_parameter(request.member.workspace, key, value, by=request.member)
            messages.success(request, _("Saved."))
        except RequestRefused as refusal:
            messages.error(request, str(refusal))
        return redirect("parameters")
    set_here = parameters.set_in(request.member.workspace_id)
    known = [(key, parameter, set_here.get(key, "")) for key, parameter in sorted(parameters.KNOWN.items())]
    return render(request, "postroom/settings/parameters.html", {"parameters": known})


def _stored(request: MemberRequest, form: DomainForm) -> bool:
    try:
        arranging.put_domain(form.save(commit=False), by=request.member)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return False
    messages.success(request, _("Saved."))
    return True
