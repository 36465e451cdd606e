"""The page of a record: its conversation, its followers, and the composer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpResponse
from django.shortcuts import render

from postroom.conversations.models import Contact, Follower, Record, Subtype
from postroom.flows import reading
from postroom.flows.foretelling import Foretold, captured, waits_for
from postroom.flows.posting import Preview
from postroom.web.forms import ComposerForm, FollowerForm
from postroom.web.later import composer_for, taken_back, taken_back_on, waiting_as, waiting_on
from postroom.web.later_forms import LaterComposerForm
from postroom.web.membership import MemberRequest
from postroom.web.timeline import timeline

FOLLOWERS_SHOWN = 50


def chatter(
    request: MemberRequest,
    record: Record,
    *,
    form: ComposerForm | None = None,
    preview: Preview | None = None,
    foretold: Foretold | None = None,
    outsiders: Sequence[Contact] = (),
    follower_form: FollowerForm | None = None,
) -> HttpResponse:
    """The whole page; with 422 if something on it has to be corrected first."""
    shown = timeline(record, request.member, request.GET.get("before"))
    reading.seen(request.member, shown.messages)
    replaced = request.GET.get("edit") or request.POST.get("replaces")
    row = taken_back(request.member, record, replaced)
    is_refused = bool((form and form.errors) or outsiders or (follower_form and follower_form.errors))
    context: dict[str, Any] = {
        "record": record,
        "timeline": shown,
        "form": form or (composer_for(row) if row else LaterComposerForm()),
        "editing": waiting_as(row, request.member) if row else None,
        "unsaid": [] if row else taken_back_on(record, request.member),
        "waiting": waiting_on(record, request.member),
        "preview": preview,
        "foretold": foretold,
        "captured": captured(record.workspace, preview) if preview else None,
        "wait": waits_for(record.workspace, preview) if preview else None,
        "outsiders": outsiders,
        "follower_form": follower_form or FollowerForm(),
        **followers_of(record),
    }
    return render(request, "postroom/record.html", context, status=422 if is_refused else 200)


def followers_of(record: Record) -> dict[str, Any]:
    """The followers as the page lists them, and the subtypes to choose from."""
    rows = Follower.objects.filter(record=record)
    listed = rows.select_related("contact__address", "contact__member").prefetch_related("subtypes")
    return {
        "followers": list(listed.order_by("contact__name", "pk")[:FOLLOWERS_SHOWN]),
        "followers_count": rows.count(),
        "subtypes": list(Subtype.objects.filter(workspace_id=record.workspace_id)),
    }


def contact_of(request: MemberRequest) -> Contact | None:
    """The contact the member speaks as."""
    try:
        return request.member.contact
    except ObjectDoesNotExist:
        return None
