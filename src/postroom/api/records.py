"""/records: the business records and what is said on them."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import P, PathEx, QueryEx, Router, Status

from postroom.api.callers import key_of
from postroom.api.once import once
from postroom.api.paging import DEFAULT_LIMIT, LARGEST_LIMIT, page_of
from postroom.api.problems import Problem, ProblemShape, not_found
from postroom.api.shapes import AttachmentToPost, MessagePage, MessageToPost, RecordPage, RecordToPut
from postroom.conversations.models import Message, Record, ScheduledMessage
from postroom.flows import drafting, foretelling, posting, recording, scheduling
from postroom.flows.due_times import still_to_come
from postroom.flows.preview_shapes import PreviewShape, shape_of_preview
from postroom.flows.shapes import MessageShape, RecordShape, ScheduledShape
from postroom.flows.showing import messages_to_show, records_to_show, shape_of_message, shape_of_record
from postroom.flows.showing_later import scheduled_to_show, shape_of_scheduled
from postroom.wire.address import normalise
from postroom.workspaces.models import ApiKey, Member

router = Router(tags=["records"])
Model = PathEx[str, P(max_length=80, pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", example="sale.order")]
ExternalId = PathEx[str, P(max_length=120, min_length=1, example="SO042")]
Limit = QueryEx[int, P(ge=1, le=LARGEST_LIMIT)]
READ_PROBLEMS = {401: ProblemShape, 404: ProblemShape, 422: ProblemShape}
WRITE_PROBLEMS = {**READ_PROBLEMS, 409: ProblemShape}


@router.get("", response={200: RecordPage, 401: ProblemShape, 422: ProblemShape})
def list_records(request: HttpRequest, cursor: str = "", limit: Limit = DEFAULT_LIMIT) -> RecordPage:
    """All records, the newest first."""
    records = records_to_show(Record.objects.for_member(key_of(request).member))
    rows, next_cursor = page_of(records, cursor, limit)
    return RecordPage([shape_of_record(record) for record in rows], next_cursor)


@router.put("/{model}/{external_id}", response={200: RecordShape, 201: RecordShape, **WRITE_PROBLEMS})
def put_record(
    request: HttpRequest, model: Model, external_id: ExternalId, payload: RecordToPut
) -> Status[RecordShape]:
    """Make the record (201) or bring it up to date (200)."""
    key = key_of(request)
    with transaction.atomic():
        record, is_new = recording.put_record(
            key.workspace,
            model,
            external_id,
            title=payload.title,
            url=payload.url,
            responsible=_responsible(key, payload.responsible),
            followers=[recording.contact_for(key.workspace, address) for address in payload.followers],
            by=key.member,
        )
    return Status(201 if is_new else 200, shape_of_record(_shown(key, record.model, record.external_id)))


@router.get("/{model}/{external_id}", response={200: RecordShape, **READ_PROBLEMS})
def get_record(request: HttpRequest, model: Model, external_id: ExternalId) -> RecordShape:
    """One record with its followers."""
    return shape_of_record(_shown(key_of(request), model, external_id))


@router.get("/{model}/{external_id}/messages", response={200: MessagePage, **READ_PROBLEMS})
def list_messages(
    request: HttpRequest,
    model: Model,
    external_id: ExternalId,
    cursor: str = "",
    limit: Limit = DEFAULT_LIMIT,
) -> MessagePage:
    """The conversation, the newest first, with the state of every delivery."""
    record = _record(key_of(request), model, external_id)
    rows, next_cursor = page_of(messages_to_show(Message.objects.filter(record=record)), cursor, limit)
    return MessagePage([shape_of_message(message) for message in rows], next_cursor)


@router.post(
    "/{model}/{external_id}/messages",
    response={201: MessageShape, 202: ScheduledShape, **WRITE_PROBLEMS},
)
def post_message(
    request: HttpRequest, model: Model, external_id: ExternalId, payload: MessageToPost
) -> HttpResponse:
    """Say something on the record: its followers and the addresses in `to` are told.

    Send an `Idempotency-Key` so that repeating the request after a lost answer posts nothing twice. With a
    `post_at` that lies ahead it is said then, and the answer is 202 with a scheduled message.
    """
    key = key_of(request)
    record = _record(key, model, external_id)
    post_at = still_to_come(payload.post_at)
    if post_at is not None:
        return once(request, 202, ScheduledShape, lambda: _schedule(record, key.member, payload, post_at))
    return once(request, 201, MessageShape, lambda: _post(record, key.member, payload))


@router.post("/{model}/{external_id}/preview", response={200: PreviewShape, **READ_PROBLEMS})
def preview_message(
    request: HttpRequest, model: Model, external_id: ExternalId, payload: MessageToPost
) -> PreviewShape:
    """Who would be told by this message, who not and why, how long the daily limit makes it take, what
    capture mode makes of it, and which scheduled action bulk mail waits for.

    Nothing is said and nothing is stored.
    """
    key = key_of(request)
    record = _record(key, model, external_id)
    with transaction.atomic():
        try:
            preview = posting.preview(drafting.draft(_said(payload), record, key.member))
            foretold = foretelling.foretell(key.workspace, preview)
            captured = foretelling.captured(key.workspace, preview)
            wait = foretelling.waits_for(key.workspace, preview)
            return shape_of_preview(preview, foretold, captured, wait)
        finally:
            transaction.set_rollback(True)  # contacts made for addresses that were only named


def _schedule(record: Record, member: Member, payload: MessageToPost, post_at: datetime) -> ScheduledShape:
    row = scheduling.schedule(_draft(record, member, payload), post_at)
    return shape_of_scheduled(scheduled_to_show(ScheduledMessage.objects.all()).get(pk=row.pk))


def _post(record: Record, member: Member, payload: MessageToPost) -> MessageShape:
    message = posting.post(_draft(record, member, payload))
    return shape_of_message(messages_to_show(Message.objects.for_member(member)).get(pk=message.pk))


def _draft(record: Record, member: Member, payload: MessageToPost) -> posting.Draft:
    if not (payload.html or payload.text):
        raise Problem(
            "malformed", "Say something.", errors=[{"field": "text", "message": "Give html or text."}]
        )
    return drafting.draft(_said(payload), record, member)


def _said(payload: MessageToPost) -> drafting.Said:
    return drafting.Said(
        subject=payload.subject,
        html=payload.html,
        text=payload.text,
        is_note=payload.note,
        to=tuple(payload.to),
        author=payload.author,
        stream=payload.stream,
        files=tuple(_file(position, file) for position, file in enumerate(payload.attachments)),
        are_outsiders_confirmed=payload.confirm_outsiders,
        send_at=payload.send_at,
    )


def _file(position: int, attachment: AttachmentToPost) -> drafting.File:
    octets = octets_in(attachment.content, f"attachments.{position}.content")
    return drafting.File(attachment.name, attachment.content_type, octets)


def octets_in(text: str, field: str) -> bytes:
    """Decode base64. Raises Problem naming the field."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        where = [{"field": field, "message": "This is not base64."}]
        raise Problem("malformed", "The request cannot be read.", errors=where) from error


def _record(key: ApiKey, model: str, external_id: str) -> Record:
    record = Record.objects.filter(workspace=key.workspace, model=model, external_id=external_id).first()
    if record is None:
        raise not_found()
    return record


def _shown(key: ApiKey, model: str, external_id: str) -> Record:
    return records_to_show(Record.objects.all()).get(pk=_record(key, model, external_id).pk)


def _responsible(key: ApiKey, address: str) -> Member | None:
    if not address:
        return None
    members = Member.objects.active().filter(workspace=key.workspace)
    member = members.filter(user__email__iexact=normalise(address)).first()
    if member is None:
        where = [{"field": "responsible", "message": "This is not the address of a member."}]
        raise Problem("malformed", "The request cannot be read.", errors=where)
    return member
