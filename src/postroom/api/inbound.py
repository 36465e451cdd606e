"""/inbound: what came in and what was refused at the door."""

from __future__ import annotations

from typing import Literal

from django.http import HttpRequest
from ninja import Router

from postroom.api.callers import key_of
from postroom.api.paging import DEFAULT_LIMIT, page_of
from postroom.api.problems import ProblemShape
from postroom.api.records import Limit
from postroom.api.shapes import ReceivedPage
from postroom.flows.showing import shape_of_received
from postroom.incoming.models import ReceivedEmail

router = Router(tags=["inbound"])
State = Literal["stored", "posted", "duplicate", "bounce", "refused", "set_aside", ""]


@router.get("", response={200: ReceivedPage, 401: ProblemShape, 422: ProblemShape})
def list_received(
    request: HttpRequest, state: State = "", cursor: str = "", limit: Limit = DEFAULT_LIMIT
) -> ReceivedPage:
    """The incoming log, the newest first, refusals with the reply that was given."""
    lines = ReceivedEmail.objects.filter(workspace=key_of(request).workspace).select_related("record")
    rows, next_cursor = page_of(lines.filter(state=state) if state else lines, cursor, limit)
    return ReceivedPage([shape_of_received(line) for line in rows], next_cursor)
