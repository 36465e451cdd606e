"""Records, and the conversation on each."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from postroom.conversations.models import Contact, Record, Subtype
from postroom.flows import recording
from postroom.web.chatter import chatter
from postroom.web.forms import FollowerForm, IdsField
from postroom.web.membership import MemberRequest, for_members

SHOWN = 50


@require_safe
@for_members
def record_list(request: MemberRequest) -> HttpResponse:
    """The records where something was said last, or those that match a search."""
    wanted = request.GET.get("q", "").strip()
    rows = Record.objects.for_member(request.member).select_related(
        "responsible__contact", "responsible__user"
    )
    if wanted:
        rows = rows.filter(Q(title__icontains=wanted) | Q(external_id__icontains=wanted) | Q(model=wanted))
    page = _page_number(request.GET.get("page"))
    found = list(rows.order_by("-last_message_at", "-pk")[(page - 1) * SHOWN : page * SHOWN + 1])
    context = {
        "records": found[:SHOWN],
        "q": wanted,
        "page": page,
        "next": page + 1 if len(found) > SHOWN else None,
    }
    return render(request, "postroom/records.html", context)


@require_safe
@for_members
def record(request: MemberRequest, pk: int) -> HttpResponse:
    """The chatter."""
    return chatter(request, mine(request, pk))


@require_POST
@for_members
def add_follower(request: MemberRequest, pk: int) -> HttpResponse:
    """Let somebody follow the record."""
    followed = mine(request, pk)
    form = FollowerForm(request.POST)
    if not form.is_valid():
        return chatter(request, followed, follower_form=form)
    contact = recording.contact_for(
        followed.workspace, form.cleaned_data["address"], form.cleaned_data["name"]
    )
    if recording.follow(followed, contact, by=request.member) is None:
        messages.warning(request, _("%(name)s is no longer active and was not added.") % {"name": contact})
    return redirect("record", pk)


@require_POST
@for_members
def remove_follower(request: MemberRequest, pk: int, contact_pk: int) -> HttpResponse:
    """Tell somebody about the record no more."""
    recording.unfollow(mine(request, pk), _contact(request, contact_pk), by=request.member)
    return redirect("record", pk)


@require_POST
@for_members
def choose_subtypes(request: MemberRequest, pk: int, contact_pk: int) -> HttpResponse:
    """Choose what a follower is told about."""
    wanted = IdsField(required=False).clean(request.POST.getlist("subtypes"))
    chosen = Subtype.objects.filter(workspace_id=request.member.workspace_id, pk__in=wanted)
    recording.follow(mine(request, pk), _contact(request, contact_pk), subtypes=chosen, by=request.member)
    return redirect("record", pk)


def mine(request: MemberRequest, pk: int) -> Record:
    """A record of the member's workspace; anything else does not exist."""
    rows = Record.objects.for_member(request.member)
    return get_object_or_404(
        rows.select_related("workspace", "responsible__contact", "responsible__user"), pk=pk
    )


def _contact(request: MemberRequest, pk: int) -> Contact:
    rows = Contact.objects.for_member(request.member)
    return get_object_or_404(rows.select_related("address", "member"), pk=pk)


def _page_number(text: str | None) -> int:
    return min(max(int(text), 1), 200) if text and text.isdecimal() and len(text) < 6 else 1
