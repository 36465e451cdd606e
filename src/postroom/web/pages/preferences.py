"""What members choose for themselves."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from postroom.flows import founding
from postroom.web.backward import back_of
from postroom.web.chatter import contact_of
from postroom.web.forms import PreferencesForm
from postroom.web.membership import SESSION_KEY, MemberRequest, for_members, for_users
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused


@require_http_methods(["GET", "HEAD", "POST"])
@for_members
def preferences(request: MemberRequest) -> HttpResponse:
    """Name, address, language, how one is told; for administrators developer mode."""
    is_admin = request.member.is_admin
    form = PreferencesForm(request.POST or None, initial=_chosen(request), is_admin=is_admin)
    if form.is_valid():
        try:
            member = founding.change_preferences(request.member, **form.cleaned_data)
            translation.activate(member.language)
            messages.success(request, _("Saved."))
            return redirect("preferences")
        except RequestRefused as refusal:
            form.add_error(None, str(refusal))
    return render(request, "postroom/preferences.html", {"form": form})


@require_POST
@for_members
def language(request: MemberRequest) -> HttpResponse:
    """Speak another language from now on."""
    wanted = request.POST.get("language", "")
    if wanted in dict(settings.LANGUAGES):
        founding.change_preferences(request.member, language=wanted)
    return redirect(back_of(request) or "inbox")


@require_http_methods(["GET", "HEAD", "POST"])
@for_users
def workspaces(request: MemberRequest) -> HttpResponse:
    """Choose among the workspaces one belongs to."""
    wanted = request.POST.get("workspace", "")
    if any(str(member.workspace_id) == wanted for member in request.memberships):
        request.session[SESSION_KEY] = int(wanted)
        return redirect("inbox")
    return render(request, "postroom/workspaces.html", {"memberships": request.memberships})


def _chosen(request: MemberRequest) -> dict[str, object]:
    member: Member = request.member
    contact = contact_of(request)
    return {
        "name": contact.name if contact else "",
        "address": contact.addr_spec if contact else "",
        "language": member.language,
        "channel": member.channel,
        "is_developer": member.is_developer,
    }
