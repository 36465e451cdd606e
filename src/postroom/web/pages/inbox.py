"""What happened that concerns me."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from postroom.conversations.models import Notification
from postroom.flows import reading
from postroom.web.forms import IdsForm
from postroom.web.membership import MemberRequest, for_members

SHOWN = 100
READ_SHOWN = 20


@require_safe
@for_members
def inbox(request: MemberRequest) -> HttpResponse:
    """Unread first: failures before everything else; then what was read. Each part is newest first."""
    mine = _with_messages(Notification.objects.filter(member=request.member)).order_by("-created_at", "-pk")
    unread = mine.filter(read_at=None)
    context = {
        "failures": list(unread.filter(kind=Notification.Kind.FAILURE)[:SHOWN]),
        "unread": list(unread.exclude(kind=Notification.Kind.FAILURE)[:SHOWN]),
        "read": list(mine.exclude(read_at=None)[:READ_SHOWN]),
    }
    return render(request, "postroom/inbox.html", context)


@require_POST
@for_members
def mark_read(request: MemberRequest) -> HttpResponse:
    """Mark some notifications as read, or all of them if none is named."""
    form = IdsForm(request.POST)
    if form.is_valid():
        reading.mark_read(request.member, form.cleaned_data["ids"])
    return redirect("inbox")


def _with_messages(rows: QuerySet[Notification]) -> QuerySet[Notification]:
    return rows.select_related(
        "scheduled__record",
        "message__record",
        "message__author__address",
        "message__tally",
        "message__subtype",
    )
