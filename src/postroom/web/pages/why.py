"""Why? The one page that answers what became of a message to somebody."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from postroom.conversations.models import Message
from postroom.diagnostics.trail import trail
from postroom.outgoing.models import Email
from postroom.web.counting import Count
from postroom.web.membership import MemberRequest, for_members
from postroom.web.queue_places import LANE, steps_of

SHOWN = 30


@require_safe
@for_members
def why(request: MemberRequest) -> HttpResponse:
    """The trail of one message to one address; without both, a search for them."""
    address, wanted = request.GET.get("address", "").strip().lower(), request.GET.get("message", "").strip()
    message = _message(request, wanted)
    context: dict[str, Any] = {"address": address, "wanted": wanted, "message": message}
    if message is not None and address:
        context |= {"trail": trail(message, address), "before": _before(request, message, address)}
        return render(request, "postroom/why.html", context)
    if message is not None:
        return render(request, "postroom/why.html", {**context, "emails": _emails(request, message=message)})
    found = _emails(request, address__addr_spec=address) if address and not wanted else []
    return render(
        request, "postroom/why.html", {**context, "emails": found, "is_unknown": bool(wanted or address)}
    )


def _message(request: MemberRequest, wanted: str) -> Message | None:
    """By number or by Message-ID (ours, or one that a relay gave it)."""
    if not wanted:
        return None
    rows = Message.objects.for_member(request.member).select_related("record", "author", "workspace")
    if wanted.isdecimal() and len(wanted) < 19:
        return rows.filter(pk=int(wanted)).first()
    known_as = f"<{wanted.strip('<>')}>"
    own = Q(message_id=known_as) | Q(id_aliases__alias=known_as)
    return rows.filter(own).order_by("pk").first()


def _before(request: MemberRequest, message: Message, address: str) -> Count | None:
    """How many leave before this email, if it is held."""
    rows = Email.objects.for_member(request.member).filter(message=message, address__addr_spec=address)
    placed = steps_of(list(rows.select_related(*LANE)))
    return next((each.before for each in placed.values()), None)


def _emails(request: MemberRequest, **of: object) -> list[Email]:
    rows = Email.objects.for_member(request.member).filter(**of)
    return list(rows.select_related("address", "message__record").order_by("-pk")[:SHOWN])
