"""The addresses that open records, or lead to one."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from postroom.conversations.models import Alias
from postroom.flows import arranging
from postroom.web.forms import AliasForm
from postroom.web.membership import MemberRequest, for_admins
from postroom.workspaces.refusals import RequestRefused


@require_safe
@for_admins
def aliases(request: MemberRequest) -> HttpResponse:
    """All aliases of the workspace."""
    rows = Alias.objects.filter(workspace=request.member.workspace).select_related(
        "mail_domain", "forced_record"
    )
    return render(request, "postroom/settings/aliases.html", {"aliases": rows.order_by("local_part", "pk")})


@require_http_methods(["GET", "HEAD", "POST"])
@for_admins
def new_alias(request: MemberRequest) -> HttpResponse:
    """Add one."""
    return _edit(request, None)


@require_http_methods(["GET", "HEAD", "POST"])
@for_admins
def alias(request: MemberRequest, pk: int) -> HttpResponse:
    """Change one."""
    return _edit(request, _mine(request, pk))


@require_POST
@for_admins
def remove_alias(request: MemberRequest, pk: int) -> HttpResponse:
    """Remove one."""
    row = _mine(request, pk)
    arranging.remove_alias(row, by=request.member)
    messages.success(request, _("%(address)s takes no more mail.") % {"address": row.addr_spec})
    return redirect("aliases")


def _mine(request: MemberRequest, pk: int) -> Alias:
    return get_object_or_404(
        Alias.objects.select_related("mail_domain"), pk=pk, workspace=request.member.workspace
    )


def _edit(request: MemberRequest, row: Alias | None) -> HttpResponse:
    form = AliasForm(request.POST or None, instance=row, member=request.member)
    if form.is_valid() and _stored(request, form):
        return redirect("aliases")
    return render(request, "postroom/settings/alias.html", {"form": form, "alias": row})


def _stored(request: MemberRequest, form: AliasForm) -> bool:
    changed = form.save(commit=False)
    changed.forced_record = form.cleaned_data["forced"]
    try:
        arranging.put_alias(changed, by=request.member)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return False
    messages.success(request, _("Saved."))
    return True
