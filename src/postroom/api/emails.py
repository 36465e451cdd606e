"""/messages and /emails: what was said, and each message to each recipient."""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import ValidationError as PydanticError

from postroom.api.callers import key_of
from postroom.api.once import once
from postroom.api.paging import DEFAULT_LIMIT, page_of
from postroom.api.problems import Problem, ProblemShape, not_found
from postroom.api.records import READ_PROBLEMS, WRITE_PROBLEMS, Limit, octets_in
from postroom.api.shapes import EmailPage, EmailsToMove, RawToSubmit
from postroom.conversations.models import Message, Record
from postroom.conversations.models.records import Stream
from postroom.flows import leaving_later, posting, retrying
from postroom.flows.shapes import EmailShape, EmailWithAttemptsShape, MessageShape
from postroom.flows.showing import (
    emails_of,
    emails_to_show,
    messages_to_show,
    number_in,
    shape_of_email,
    shape_of_message,
    shape_with_attempts,
    shapes_of_emails,
)
from postroom.outgoing.models import Email
from postroom.workspaces.models import ApiKey

router = Router(tags=["messages"])
State = Literal["outgoing", "sent", "failed", "cancelled", ""]
CaptureFilter = Literal["captured", "redirected", ""]
RAW_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": RawToSubmit.model_json_schema()},
            "message/rfc822": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("/messages/{message_id}", response={200: MessageShape, **READ_PROBLEMS})
def get_message(request: HttpRequest, message_id: str) -> MessageShape:
    """One message (msg_…) with the state of every delivery."""
    shown = messages_to_show(Message.objects.for_member(key_of(request).member))
    message = shown.filter(pk=number_in(message_id, "msg") or 0).first()
    if message is None:
        raise not_found()
    return shape_of_message(message)


@router.patch("/messages/{message_id}", response={200: MessageShape, **WRITE_PROBLEMS})
def move_emails(request: HttpRequest, message_id: str, payload: EmailsToMove) -> MessageShape:
    """Let the emails of a message that was posted leave at another time."""
    member = key_of(request).member
    shown = messages_to_show(Message.objects.for_member(member))
    pk = number_in(message_id, "msg") or 0
    message = shown.filter(pk=pk).first()
    if message is None:
        raise not_found()
    leaving_later.move_emails(message, payload.send_at, member)
    return shape_of_message(shown.get(pk=pk))


@router.get("/emails", response={200: EmailPage, 401: ProblemShape, 422: ProblemShape})
def list_emails(
    request: HttpRequest,
    *,
    state: State = "",
    search: str = "",
    capture: CaptureFilter = "",
    cursor: str = "",
    limit: Limit = DEFAULT_LIMIT,
) -> EmailPage:
    """Each message to each recipient, the newest first. `search` looks in addresses and subjects.

    `capture` asks for what capture mode kept in (`captured`) or sent to another address (`redirected`).
    """
    found = emails_of(key_of(request).workspace, state=state, search=search, capture=capture)
    emails = emails_to_show(found)
    rows, next_cursor = page_of(emails, cursor, limit)
    return EmailPage(shapes_of_emails(rows), next_cursor)


@router.post("/emails/raw", response={202: MessageShape, **WRITE_PROBLEMS}, openapi_extra=RAW_BODY)
def submit_raw(request: HttpRequest) -> HttpResponse:
    """Hand over a ready-made mail with its envelope.

    Either as JSON, or as a body of type message/rfc822 with the envelope in the query: `reverse_path`,
    `recipient` (several times), `record` and `stream`.
    """
    key = key_of(request)
    payload, octets = _read(request)
    return once(request, 202, MessageShape, lambda: _submit(key, payload, octets))


@router.get("/emails/{email_id}", response={200: EmailWithAttemptsShape, **READ_PROBLEMS})
def get_email(request: HttpRequest, email_id: str) -> EmailWithAttemptsShape:
    """One message to one recipient (em_…) with every attempt and the server's answers."""
    return shape_with_attempts(_email(key_of(request), email_id))


@router.post("/emails/{email_id}/retry", response={200: EmailShape, **WRITE_PROBLEMS})
def retry(request: HttpRequest, email_id: str) -> EmailShape:
    """Put an email in Delivery Failed or Cancelled back into Outgoing."""
    return _changed(request, email_id, "retry")


@router.post("/emails/{email_id}/send-now", response={200: EmailShape, **WRITE_PROBLEMS})
def send_now(request: HttpRequest, email_id: str) -> EmailShape:
    """Let an Outgoing email leave at once; 422 with the reason where a pause or a limit keeps it in."""
    return _changed(request, email_id, "send_now")


@router.post("/emails/{email_id}/cancel", response={200: EmailShape, **WRITE_PROBLEMS})
def cancel(request: HttpRequest, email_id: str) -> EmailShape:
    """Take an Outgoing email out of the queue."""
    return _changed(request, email_id, "cancel")


def _changed(request: HttpRequest, email_id: str, verb: str) -> EmailShape:
    key = key_of(request)
    email = _email(key, email_id)
    count = getattr(retrying, verb)(Email.objects.for_member(key.member).filter(pk=email.pk), key.member)
    if count == 0:
        raise Problem("not_in_this_state", f"{email_id} is in state {email.state}.")
    return shape_of_email(_email(key, email_id))


def _email(key: ApiKey, email_id: str) -> Email:
    shown = emails_to_show(Email.objects.for_member(key.member))
    email = shown.filter(pk=number_in(email_id, "em") or 0).first()
    if email is None:
        raise not_found()
    return email


def _submit(key: ApiKey, payload: RawToSubmit, octets: bytes) -> MessageShape:
    message = posting.submit(
        key.workspace,
        octets,
        reverse_path=payload.reverse_path,
        forward_paths=payload.recipients,
        member=key.member,
        record=_record(key, payload.record),
        stream=Stream(payload.stream),
    )
    return shape_of_message(messages_to_show(Message.objects.for_member(key.member)).get(pk=message.pk))


def _record(key: ApiKey, text: str) -> Record | None:
    if not text:
        return None
    model, _, external_id = text.partition("/")
    record = Record.objects.filter(workspace=key.workspace, model=model, external_id=external_id).first()
    if record is None:
        raise not_found()
    return record


def _read(request: HttpRequest) -> tuple[RawToSubmit, bytes]:
    """The envelope and the mail."""
    try:
        if request.content_type == "message/rfc822":
            return RawToSubmit.model_validate(_envelope_in_query(request)), request.body
        payload = RawToSubmit.model_validate_json(request.body)
    except PydanticError as error:
        where = [
            {"field": ".".join(map(str, one["loc"])), "message": one["msg"]}
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise Problem("malformed", "The request cannot be read.", errors=where) from error
    return payload, octets_in(payload.raw, "raw")


def _envelope_in_query(request: HttpRequest) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: request.GET[name] for name in ("reverse_path", "record", "stream") if name in request.GET
    }
    return {**given, "recipients": request.GET.getlist("recipient"), "raw": "in the body"}
