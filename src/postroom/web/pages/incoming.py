"""What came in, and what was refused at the door."""

from __future__ import annotations

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.web.membership import MemberRequest, for_members
from postroom.web.paging import newest_first


@require_safe
@for_members
def incoming_log(request: MemberRequest) -> HttpResponse:
    """The incoming log, newest first, all of it or one state."""
    state, wanted = request.GET.get("state", ""), request.GET.get("q", "").strip()
    rows = ReceivedEmail.objects.for_member(request.member).select_related("record", "workspace")
    if state in ReceivedState.values:
        rows = rows.filter(state=state)
    if wanted:
        addresses = Q(reverse_path__icontains=wanted) | Q(forward_path__icontains=wanted)
        rows = rows.filter(addresses | Q(subject__icontains=wanted) | Q(message_id_header=wanted))
    found = newest_first(rows, request.GET.get("before"))
    context = {
        "rows": found.rows,
        "before": found.before,
        "state": state,
        "q": wanted,
        "states": ReceivedState.choices,
    }
    return render(request, "postroom/incoming.html", context)


@require_safe
@for_members
def received(request: MemberRequest, pk: int) -> HttpResponse:
    """One line of the log with all it holds."""
    rows = ReceivedEmail.objects.for_member(request.member).select_related("record", "message", "workspace")
    return render(request, "postroom/received.html", {"mail": get_object_or_404(rows, pk=pk)})
