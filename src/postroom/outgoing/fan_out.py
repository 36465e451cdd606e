"""From one message to its Emails: renditions, rows and the tally, inside the transaction that posts it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.db.models import BigIntegerField, Case, F, Q, QuerySet, Value, When
from django.db.models.expressions import Combinable

from postroom.conversations.models import Message
from postroom.conversations.models.records import Stream
from postroom.outgoing.letters import Frame, letter
from postroom.outgoing.models import Email, Lane, Rendition, Tally
from postroom.wire.compose import Template, compile_letter
from postroom.workspaces.insert_selected import insert_selected

if TYPE_CHECKING:
    from postroom.conversations.recipients import Candidate

Kinds = Mapping[tuple[str, str], Rendition]
"""Renditions by language and layout."""


def write_renditions(frame: Frame, rows: QuerySet[Candidate]) -> Kinds:
    """Compose what these recipients (with `spoken` and `layout`) need, once each."""
    wanted = sorted(set(rows.order_by().values_list("spoken", "layout").distinct()))
    made = [
        rendition_of(frame.message, compile_letter(letter(frame, language, layout)), language, layout)
        for language, layout in wanted
    ]
    Rendition.objects.bulk_create(made)
    return {(rendition.language, rendition.layout): rendition for rendition in made}


def rendition_of(message: Message, template: Template, language: str, layout: str) -> Rendition:
    """The row, not yet saved, for the octets of a message."""
    return Rendition(
        workspace_id=message.workspace_id,
        message=message,
        language=language,
        layout=layout,
        digest=hashlib.sha256(template.octets).hexdigest(),
        size=len(template.octets),
        octets=template.octets,
    )


def write_emails(message: Message, rows: QuerySet[Candidate], renditions: Kinds, lane: Lane) -> int:
    """One Email for each recipient (with `spoken`, `layout` and `why`), and the tally; returns how many."""
    count = 0
    if renditions:
        of_each: dict[str, Combinable] = {
            "rendition": _choice_of(renditions),
            "address": F("address_id"),
            "contact": F("pk"),
            "why_told": F("why"),
        }
        count = insert_selected(Email, rows, alike=alike(message, lane), of_each=of_each)
    write_tally(message, count)
    return count


def alike(message: Message, lane: Lane) -> dict[str, object]:
    """What all Emails of a message have alike. Urgent ones are listed only once an attempt went wrong."""
    return {
        "workspace": message.workspace_id,
        "message": message.pk,
        "lane": lane.pk,
        "is_listed": message.stream == Stream.BULK,
    }


def write_tally(message: Message, count: int) -> Tally:
    """The counts of a message that was just posted: all of its Emails are Outgoing."""
    return Tally.objects.create(
        message=message, workspace_id=message.workspace_id, total_count=count, outgoing_count=count
    )


def _choice_of(renditions: Kinds) -> Case:
    whens = [
        When(Q(spoken=language, layout=layout), then=Value(rendition.pk))
        for (language, layout), rendition in renditions.items()
    ]
    # Somebody who changes their language in this very moment reads another one this once.
    spare = next(iter(renditions.values())).pk
    return Case(*whens, default=Value(spare), output_field=BigIntegerField())
