"""What happened that concerns me."""

from __future__ import annotations

from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from postroom.conversations.models import Notification
from postroom.flows import reading
from postroom.web.forms import IdsForm
from postroom.web.membership import MemberRequest, for_members

SHOWN = 100


@require_safe
@for_members
def inbox(request: MemberRequest) -> HttpResponse:
    """Unread first: failures of mine before everything else; then what was read lately."""
    mine = Notification.objects.filter(member=request.member)
    unread = list(_with_messages(_failures_first(mine.filter(read_at=None)))[:SHOWN])
    read = list(_with_messages(mine.exclude(read_at=None).order_by("-read_at"))[:20])
    return render(request, "postroom/inbox.html", {"unread": unread, "read": read})


@require_POST
@for_members
def mark_read(request: MemberRequest) -> HttpResponse:
    """Mark some notifications as read, or all of them if none is named."""
    form = IdsForm(request.POST)
    if form.is_valid():
        reading.mark_read(request.member, form.cleaned_data["ids"])
    return redirect("inbox")


def _failures_first(rows: QuerySet[Notification]) -> QuerySet[Notification]:
    is_failure = When(kind=Notification.Kind.FAILURE, then=Value(0))
    return rows.order_by(Case(is_failure, default=Value(1), output_field=IntegerField()), "-pk")


def _with_messages(rows: QuerySet[Notification]) -> QuerySet[Notification]:
    return rows.select_related(
        "message__record", "message__author__address", "message__tally", "message__subtype"
    )
