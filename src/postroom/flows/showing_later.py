"""Puts what is said later into the shape that programs are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postroom.conversations.models import Contact, ScheduledMessage
from postroom.conversations.models.scheduled import ScheduledMessageQuerySet
from postroom.flows.scheduling import files_of
from postroom.flows.shapes import FileShape, ScheduledShape
from postroom.flows.showing import message_id, shape_of_person


def scheduled_id(pk: int) -> str:
    """How programs name something that is said later."""
    return f"sch_{pk}"


def scheduled_to_show(rows: ScheduledMessageQuerySet) -> ScheduledMessageQuerySet:
    """The same rows, with what a shape reads loaded along."""
    return rows.select_related("record", "author__address", "author__member", "member__user")


def shapes_of_scheduled(rows: Sequence[ScheduledMessage]) -> list[ScheduledShape]:
    """Rows from `scheduled_to_show`, with one question for everybody they name."""
    wanted = {pk for row in rows for pk in row.named}
    contacts = {contact.pk: contact for contact in named_contacts(rows, wanted)}
    return [_shape(row, contacts) for row in rows]


def shape_of_scheduled(row: ScheduledMessage) -> ScheduledShape:
    """One row from `scheduled_to_show`."""
    return shapes_of_scheduled([row])[0]


def named_contacts(rows: Sequence[ScheduledMessage], wanted: set[int]) -> list[Contact]:
    """The contacts of these rows' workspaces that are named in them."""
    here = Contact.objects.filter(workspace__in={row.workspace_id for row in rows}, pk__in=wanted)
    return list(here.select_related("address").order_by("pk"))


def _shape(row: ScheduledMessage, contacts: Mapping[int, Contact]) -> ScheduledShape:
    named = [contacts[pk] for pk in row.named if pk in contacts]
    return ScheduledShape(
        id=scheduled_id(row.pk),
        record=row.record.key if row.record else None,
        author=shape_of_person(row.author) if row.author else None,
        state=row.state,
        failure_text=row.failure_text or None,
        post_at=row.post_at,
        send_at=row.send_at,
        is_note=row.subtype_key == "note",
        stream=row.stream or None,
        subject=row.subject,
        html=row.body,
        text=row.text,
        to=[contact.addr_spec or contact.name for contact in named],
        attachments=[FileShape(file.name, file.content_type, file.size) for file in files_of(row)],
        message=message_id(row.message_id) if row.message_id else None,
        created_at=row.created_at,
    )
