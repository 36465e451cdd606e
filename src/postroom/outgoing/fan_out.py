"""From one message to its Emails: renditions, rows and the tally, inside the transaction that posts it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from postroom.conversations.models import Message
from postroom.conversations.models.records import Stream
from postroom.outgoing.letters import Frame, compiled
from postroom.outgoing.models import Email, Lane, Rendition, Tally
from postroom.outgoing.routes import Route
from postroom.wire.compose import Template
from postroom.workspaces.insert_selected import Selection, insert_selected

Kinds = Mapping[tuple[str, str], Rendition]
"""Renditions by language and layout."""


def write_renditions(frame: Frame, mailed: Selection) -> Kinds:
    """Compose what these recipients (with `spoken` and `layout`) need, once each."""
    wanted = sorted(mailed.pick("1 = 1", spoken="spoken", layout="layout").distinct())
    made = [rendition_of(frame.message, compiled(frame, *kind), frame.route, kind) for kind in wanted]
    Rendition.objects.bulk_create(made)
    return {(rendition.language, rendition.layout): rendition for rendition in made}


def rendition_of(message: Message, template: Template, route: Route, kind: tuple[str, str]) -> Rendition:
    """The row, not yet saved, for the octets of a message; `kind` is language and layout."""
    language, layout = kind
    return Rendition(
        workspace_id=message.workspace_id,
        message=message,
        language=language,
        layout=layout,
        digest=hashlib.sha256(template.octets).hexdigest(),
        size=len(template.octets),
        octets=template.octets,
        from_addr_spec=route.from_.addr_spec,
        reverse_path=route.reverse_path,
        return_domain=route.return_domain,
    )


def write_emails(message: Message, mailed: Selection, renditions: Kinds, lane: Lane) -> int:
    """One Email for each recipient (with `spoken`, `layout` and `why`), and the tally; returns how many."""
    count = 0
    if renditions:
        choice, parameters = _choice_of(renditions)
        recipients = mailed.pick(
            "1 = 1", parameters, rendition=choice, address="address_id", contact="id", why_told="why"
        )
        count = insert_selected(Email, recipients, alike=alike(message, lane))
    write_tally(message, count)
    return count


def alike(message: Message, lane: Lane) -> dict[str, object]:
    """What all Emails of a message have alike. Urgent ones are listed once an attempt went wrong, or while
    they wait for a time that was chosen."""
    when = {"due_at": message.send_at} if message.send_at else {}
    return {
        **when,
        "workspace": message.workspace_id,
        "message": message.pk,
        "lane": lane.pk,
        "is_listed": message.stream == Stream.BULK or message.send_at is not None,
    }


def write_tally(message: Message, count: int) -> Tally:
    """The counts of a message that was just posted: all of its Emails are Outgoing."""
    return Tally.objects.create(
        message=message, workspace_id=message.workspace_id, total_count=count, outgoing_count=count
    )


def _choice_of(renditions: Kinds) -> tuple[str, list[object]]:
    whens = " ".join("WHEN spoken = %s AND layout = %s THEN %s" for _ in renditions)
    parameters = [value for kind, rendition in renditions.items() for value in (*kind, rendition.pk)]
    # Somebody who changes their language in this very moment reads another one this once.
    spare = next(iter(renditions.values())).pk
    return f"CAST(CASE {whens} ELSE %s END AS BIGINT)", [*parameters, spare]
