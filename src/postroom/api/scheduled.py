"""/scheduled-messages: what is said later, until it is said."""

from __future__ import annotations

from typing import Literal

from django.http import HttpRequest
from ninja import Router
from pydantic import AwareDatetime, Field

from postroom.api.callers import key_of
from postroom.api.paging import DEFAULT_LIMIT, page_of
from postroom.api.problems import ProblemShape, not_found
from postroom.api.records import READ_PROBLEMS, WRITE_PROBLEMS, Limit
from postroom.api.shapes import Asked, ScheduledPage
from postroom.conversations.models import ScheduledMessage
from postroom.flows import scheduling
from postroom.flows.shapes import ScheduledShape
from postroom.flows.showing import number_in
from postroom.flows.showing_later import scheduled_to_show, shape_of_scheduled, shapes_of_scheduled
from postroom.workspaces.models import ApiKey

router = Router(tags=["messages"])
State = Literal["waiting", "failed", "posted", "cancelled", ""]


class ScheduledToChange(Asked):
    """What is to be different; what is left out stays. A `post_at` that has passed posts it at once."""

    post_at: AwareDatetime | None = None
    send_at: AwareDatetime | None = None
    subject: str | None = Field(None, max_length=900)
    html: str | None = Field(None, max_length=2_000_000)
    text: str | None = Field(None, max_length=2_000_000)


@router.get("/scheduled-messages", response={200: ScheduledPage, 401: ProblemShape, 422: ProblemShape})
def list_scheduled(
    request: HttpRequest, state: State = "", cursor: str = "", limit: Limit = DEFAULT_LIMIT
) -> ScheduledPage:
    """What waits to be said, and what became of it, the newest first; settled ones are kept for two weeks."""
    rows = scheduled_to_show(ScheduledMessage.objects.for_member(key_of(request).member))
    found, next_cursor = page_of(rows.filter(state=state) if state else rows, cursor, limit)
    return ScheduledPage(shapes_of_scheduled(found), next_cursor)


@router.get("/scheduled-messages/{scheduled_id}", response={200: ScheduledShape, **READ_PROBLEMS})
def get_scheduled(request: HttpRequest, scheduled_id: str) -> ScheduledShape:
    """One of them (sch_…)."""
    return shape_of_scheduled(_scheduled(key_of(request), scheduled_id))


@router.patch("/scheduled-messages/{scheduled_id}", response={200: ScheduledShape, **WRITE_PROBLEMS})
def change_scheduled(request: HttpRequest, scheduled_id: str, payload: ScheduledToChange) -> ScheduledShape:
    """Change what it says, or move it. Only its writer changes the words; administrators may move it."""
    key = key_of(request)
    row = _scheduled(key, scheduled_id)
    wanted = scheduling.Change(payload.subject, payload.html, payload.text, payload.send_at, payload.post_at)
    scheduling.change(row, key.member, wanted)
    return shape_of_scheduled(_scheduled(key, scheduled_id))


@router.delete("/scheduled-messages/{scheduled_id}", response={200: ScheduledShape, **WRITE_PROBLEMS})
def call_off_scheduled(request: HttpRequest, scheduled_id: str) -> ScheduledShape:
    """Call it off: it is never posted."""
    key = key_of(request)
    scheduling.cancel(_scheduled(key, scheduled_id), key.member)
    return shape_of_scheduled(_scheduled(key, scheduled_id))


def _scheduled(key: ApiKey, scheduled_id: str) -> ScheduledMessage:
    rows = scheduled_to_show(ScheduledMessage.objects.for_member(key.member))
    row = rows.filter(pk=number_in(scheduled_id, "sch") or 0).first()
    if row is None:
        raise not_found()
    return row
