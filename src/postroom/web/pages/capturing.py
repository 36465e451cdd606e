"""Capture mode: of the workspace for its administrators, of the installation for operators."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from postroom.flows import capture as capturing
from postroom.outgoing.models import Email
from postroom.web.forms import CaptureForm
from postroom.web.membership import MemberRequest, for_admins
from postroom.workspaces import installation
from postroom.workspaces.models import Installation, Workspace
from postroom.workspaces.refusals import RequestRefused


@require_http_methods(["GET", "HEAD", "POST"])
@for_admins
def capture(request: MemberRequest) -> HttpResponse:
    """What is captured at each level, and who may change it."""
    form = CaptureForm(request.POST or None)
    if form.is_valid():
        _switch(request, form)
        return redirect("capture")
    return render(request, "postroom/settings/capture.html", _context(request))


def _context(request: MemberRequest) -> dict[str, Any]:
    workspace, row = request.member.workspace, Installation.objects.first()
    mine = Email.objects.for_member(request.member)
    return {
        "installation": row,
        "effective": installation.capture_in(workspace, row),
        "environment": installation.of_environment(),
        "everywhere": installation.of_installation(row),
        "here": installation.of_workspace(workspace),
        "captured_count": mine.captured()[:1000].count(),
        "redirected_count": mine.redirected()[:1000].count(),
    }


def _switch(request: MemberRequest, form: CaptureForm) -> None:
    if form.cleaned_data["scope"] == "installation" and not request.member.is_operator:
        raise Http404
    meant = request.member.workspace if form.cleaned_data["scope"] == "workspace" else None
    try:
        if form.cleaned_data["wanted"] == "on":
            _switch_on(request, form, meant)
        else:
            _switch_off(request, form, meant)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))


def _switch_on(request: MemberRequest, form: CaptureForm, meant: Workspace | None) -> None:
    said = form.cleaned_data
    capturing.switch_on(
        meant, mode=said["mode"] or "all", to=said["to"], allowed=said["allowed"], by=request.member
    )
    messages.success(request, _("Saved."))


def _switch_off(request: MemberRequest, form: CaptureForm, meant: Workspace | None) -> None:
    is_retried = form.cleaned_data["is_retried"]
    count = capturing.switch_off(meant, is_captured_retried=is_retried, by=request.member)
    if count:
        words = ngettext(
            "%(count)d email will be tried again.", "%(count)d emails will be tried again.", count
        )
        messages.success(request, words % {"count": count})
