"""Outgoing servers: those of the workspace, and a member's own one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from postroom.flows import esp_settings, mail_servers, server_shapes
from postroom.flows.testing_connection import Step, test_connection, verdict
from postroom.outgoing.esp import PROVIDERS, Provider
from postroom.outgoing.models import MailServer
from postroom.web.membership import MemberRequest, for_admins, for_members
from postroom.web.server_forms import EspServerForm, LimitsForm, PersonalServerForm, ServerForm
from postroom.web.servers_shown import server_row, server_rows
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.sealed import SealBroken

TRIED = "tried_server"
_page = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@for_admins
def servers(request: MemberRequest) -> HttpResponse:
    """The shared relay and the servers of the workspace, in the order in which they are asked."""
    rows = server_rows(request.member, timezone.now())
    return render(request, "postroom/settings/servers.html", {"rows": rows})


@_page
@for_admins
def new_server(request: MemberRequest) -> HttpResponse:
    """Add one."""
    is_tested = bool(request.POST.get("test"))
    form = _form_of(request, MailServer(workspace=request.member.workspace, is_active=not is_tested))
    if form.is_valid() and (stored := _stored(request, form)):
        if not is_tested:
            return redirect("servers")
        _try_new(request, _seen(request, stored.pk))
        return redirect("server", stored.pk)
    return _show(request, None, form)


@_page
@for_admins
def server(request: MemberRequest, pk: int) -> HttpResponse:
    """Change one; of the shared relay, operators change how much it is given."""
    row = _seen(request, pk)
    if request.method == "POST" and not mail_servers.may_edit(row, request.member):
        raise Http404
    form = _form_of(request, row)
    if form.is_valid() and (stored := _stored(request, form)):
        return _go_on(request, stored)
    return _show(request, row, form, _steps_of_new(request, row) if request.method == "GET" else ())


@require_POST
@for_admins
def try_server(request: MemberRequest, pk: int) -> HttpResponse:
    """Test Connection: what each step found is shown on the page of the server."""
    return _tried(request, _seen(request, pk))


@require_POST
@for_admins
def archive_server(request: MemberRequest, pk: int) -> HttpResponse:
    """Give it no more mail; while something uses it, say what."""
    return _switched(request, _seen(request, pk), "servers")


@require_POST
@for_admins
def unarchive_server(request: MemberRequest, pk: int) -> HttpResponse:
    """Give it mail again."""
    row = _seen(request, pk)
    try:
        mail_servers.unarchive(row, by=request.member)
        messages.success(request, _("%(server)s is in use again.") % {"server": row.name})
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    return redirect("server", pk)


@require_POST
@for_admins
def remove_server(request: MemberRequest, pk: int) -> HttpResponse:
    """Remove one that has never carried mail."""
    row = _seen(request, pk)
    try:
        mail_servers.delete(row, by=request.member)
        messages.success(request, _("%(server)s is removed.") % {"server": row.name})
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
        return redirect("server", pk)
    return redirect("servers")


@_page
@for_members
def own_server(request: MemberRequest) -> HttpResponse:
    """A member's personal server: added, changed or archived by the member."""
    row = _own(request)
    if row is not None and request.POST.get("archive"):
        return _switched(request, row, "own_server")
    if row is not None and request.POST.get("try"):
        return _show_own(request, PersonalServerForm(instance=row), _steps_of_own(request, row))
    blank = MailServer(workspace=request.member.workspace, owner=request.member)
    form = PersonalServerForm(request.POST or None, instance=row or blank)
    if form.is_valid() and _stored(request, form):
        return redirect("own_server")
    return _show_own(request, form)


def _steps_of_own(request: MemberRequest, row: MailServer) -> Sequence[Step]:
    try:
        return test_connection(row, by=request.member)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
        return ()


def _show_own(request: MemberRequest, form: PersonalServerForm, steps: Sequence[Step] = ()) -> HttpResponse:
    shown = _own(request)
    row = server_row(shown, request.member, timezone.now()) if shown else None
    context = {"form": form, "row": row, "steps": steps, "verdict": verdict(steps) if steps else ""}
    return render(request, "postroom/own_server.html", context, status=422 if form.errors else 200)


def _seen(request: MemberRequest, pk: int) -> MailServer:
    return get_object_or_404(server_shapes.servers_to_show(request.member), pk=pk)


def _own(request: MemberRequest) -> MailServer | None:
    mine = server_shapes.servers_to_show(request.member)
    return mine.filter(owner=request.member, is_active=True).first()


def _form_of(request: MemberRequest, row: MailServer, *, is_blank: bool = False) -> LimitsForm:
    """What can be changed of it; `is_blank`: as it is stored, whatever was typed."""
    typed = None if is_blank else request.POST or None
    if row.is_shared:
        return LimitsForm(typed, instance=row)
    provider = _provider_of(request, row)
    if provider is not None:
        return EspServerForm(typed, instance=row, by=request.member, provider=provider)
    return ServerForm(typed, instance=row, by=request.member)


def _provider_of(request: MemberRequest, row: MailServer) -> Provider | None:
    """A new server stands for an account at the provider that was chosen before its form was shown."""
    key = row.esp if row.pk is not None else request.GET.get("esp", "")
    return PROVIDERS.get(key)


def _stored(request: MemberRequest, form: LimitsForm) -> MailServer | None:
    """None if it was refused; the form then says why."""
    try:
        stored = mail_servers.put_server(form.filled(), by=request.member)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return None
    except SealBroken:
        form.add_error(None, _("What is stored as a secret cannot be opened any more. Enter it anew."))
        return None
    messages.success(request, _("Saved."))
    return stored


def _go_on(request: MemberRequest, stored: MailServer) -> HttpResponse:
    if request.POST.get("test"):
        return _tried(request, _seen(request, stored.pk))
    return redirect("servers")


def _try_new(request: MemberRequest, row: MailServer) -> None:
    """A new server is in use once its test has not failed; its page shows the steps after the redirect."""
    try:
        steps = test_connection(row, by=request.member)
        request.session[TRIED] = {"server": row.pk, "steps": [asdict(step) for step in steps]}
        if not any(step.state == "failed" for step in steps):
            mail_servers.unarchive(row, by=request.member)
            return
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    messages.warning(
        request,
        _("%(server)s is saved but not in use, because its test failed. Correct it, or use it anyway.")
        % {"server": row.name},
    )


def _steps_of_new(request: MemberRequest, row: MailServer) -> list[Step]:
    """What the test of the server that was just added found; shown once."""
    kept = request.session.get(TRIED)
    if kept is None or kept["server"] != row.pk:
        return []
    del request.session[TRIED]
    return [Step(**step) for step in kept["steps"]]


def _tried(request: MemberRequest, row: MailServer) -> HttpResponse:
    try:
        steps = test_connection(row, by=request.member)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
        return redirect("servers")
    return _show(request, row, _form_of(request, row, is_blank=True), steps)


def _show(
    request: MemberRequest, row: MailServer | None, form: LimitsForm, steps: Sequence[Step] = ()
) -> HttpResponse:
    context: dict[str, Any] = {"form": form, "row": None, "steps": steps}
    if steps:
        context["verdict"] = verdict(steps)
    if row is not None:
        row = _seen(request, row.pk)  # not as the form has filled it, which may have been refused
        context["row"] = server_row(row, request.member, timezone.now())
        context["may_be_removed"] = mail_servers.is_unused(row)
        context["needed_by"] = mail_servers.used_by(row) if row.is_active and not row.is_shared else []
    else:
        context["providers"] = esp_settings.offered()
        context["chosen"] = _provider_of(request, form.instance)
    action = reverse("server", args=[row.pk]) if row else request.get_full_path()
    return render(
        request,
        "postroom/settings/server.html",
        {**context, "action": action},
        status=422 if form.errors else 200,
    )


def _switched(request: MemberRequest, row: MailServer, then: str) -> HttpResponse:
    try:
        mail_servers.archive(row, by=request.member)
        messages.success(
            request, _("%(server)s is archived and carries no more mail.") % {"server": row.name}
        )
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
        return redirect("server", row.pk) if then == "servers" else redirect(then)
    return redirect(then)
