"""The operator's page of how the queue of the whole installation is."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from postroom.web.health_shown import health
from postroom.web.membership import MemberRequest, for_operators


@require_safe
@for_operators
def queue_health(request: MemberRequest) -> HttpResponse:
    """What waits and why, the servers, the stations, and charts of a day (or, with `range=week`, a week)."""
    is_week = request.GET.get("range") == "week"
    now = timezone.now()
    context = {
        "health": health(now, is_week=is_week),
        "is_week": is_week,
        "is_still": "still" in request.GET,
        "now": now,
    }
    return render(request, "postroom/operator/health.html", context)
