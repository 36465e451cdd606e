"""Who may come in: members, and programs with API keys."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from postroom.flows import founding
from postroom.flows import keys as api_keys
from postroom.web.forms import InvitationForm, KeyForm
from postroom.web.membership import MemberRequest, for_admins
from postroom.workspaces.models import ApiKey, Member
from postroom.workspaces.refusals import RequestRefused

_page = require_http_methods(["GET", "HEAD", "POST"])


@_page
@for_admins
def members(request: MemberRequest) -> HttpResponse:
    """The members; inviting one shows the link that lets them in."""
    form, link = InvitationForm(request.POST or None, by=request.member), ""
    if form.is_valid():
        try:
            _invited, link = founding.invite(request.member, **form.cleaned_data)
            form = InvitationForm(by=request.member)
        except RequestRefused as refusal:
            form.add_error(None, str(refusal))
    return _member_list(request, form, link)


@require_POST
@for_admins
def reset_link(request: MemberRequest, pk: int) -> HttpResponse:
    """A link with which a member sets a new password, shown to be handed over."""
    link = ""
    try:
        link = founding.reset_link(_mine(request, pk), is_asked_by_operator=request.member.is_operator)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    return _member_list(request, InvitationForm(by=request.member), link)


@require_POST
@for_admins
def deactivate(request: MemberRequest, pk: int) -> HttpResponse:
    """Let a member in no more."""
    try:
        founding.deactivate(_mine(request, pk), by=request.member)
        messages.success(request, _("Saved."))
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    return redirect("members")


@_page
@for_admins
def keys(request: MemberRequest) -> HttpResponse:
    """The API keys; a new one is shown once."""
    form, made = KeyForm(request.POST or None), ""
    if form.is_valid():
        _key, made = api_keys.make_key(request.member, form.cleaned_data["name"], by=request.member)
        form = KeyForm()
    rows = ApiKey.objects.filter(workspace=request.member.workspace).select_related("member__user")
    context = {"form": form, "made": made, "keys": rows.order_by("-pk")}
    return render(request, "postroom/settings/keys.html", context)


@require_POST
@for_admins
def revoke_key(request: MemberRequest, pk: int) -> HttpResponse:
    """Let a key open nothing more."""
    key = get_object_or_404(ApiKey, pk=pk, workspace=request.member.workspace)
    api_keys.revoke_key(key, by=request.member)
    messages.success(request, _("The key %(name)s opens nothing more.") % {"name": key.name})
    return redirect("keys")


def _member_list(request: MemberRequest, form: InvitationForm, link: str) -> HttpResponse:
    rows = Member.objects.filter(workspace=request.member.workspace)
    listed = rows.select_related("user", "contact__address").order_by("-is_active", "pk")
    return render(request, "postroom/settings/members.html", {"form": form, "link": link, "members": listed})


def _mine(request: MemberRequest, pk: int) -> Member:
    rows = Member.objects.select_related("user", "workspace", "contact")
    return get_object_or_404(rows, pk=pk, workspace=request.member.workspace)
