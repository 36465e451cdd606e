"""The composer: what is said, and who will be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.datastructures import MultiValueDict
from django.views.decorators.http import require_POST

from postroom.conversations.models import Contact, Record, ScheduledMessage
from postroom.conversations.storage import Upload
from postroom.flows import foretelling, posting, recording, scheduling
from postroom.web.chatter import chatter, contact_of
from postroom.web.forms import ComposerForm
from postroom.web.later import taken_back
from postroom.web.later_forms import LaterComposerForm
from postroom.web.membership import MemberRequest, for_members
from postroom.web.pages.records import mine
from postroom.workspaces import parameters
from postroom.workspaces.refusals import RequestRefused


@require_POST
@for_members
def post_message(request: MemberRequest, pk: int) -> HttpResponse:
    """Say it. Naming an outsider on an internal note asks first."""
    record = mine(request, pk)
    form = _form(request)
    if not form.is_valid():
        return chatter(request, record, form=form)
    try:
        with transaction.atomic():
            said = _say(request, record, form)
    except posting.OutsidersNamed as warning:
        return chatter(request, record, form=form, outsiders=warning.contacts)
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return chatter(request, record, form=form)
    return redirect(f"{reverse('record', args=[pk])}#{said}")


def _say(request: MemberRequest, record: Record, form: LaterComposerForm) -> str:
    """Post it now or later, in the place of what it replaces; returns its name on the page."""
    draft, at = _draft(request, record, form), form.cleaned_data["at"]
    _call_off_replaced(request, record, form)
    if at is not None and form.cleaned_data["when"] != form.SEND:
        return f"scheduled-{scheduling.schedule(draft, at).pk}"
    draft = replace(draft, send_at=at)
    if seconds := parameters.value(record.workspace_id, "mail.undo.seconds"):
        until = timezone.now() + timedelta(seconds=seconds)
        return f"scheduled-{scheduling.schedule(draft, until, is_undo_window=True).pk}"
    return f"message-{posting.post(draft).pk}"


def _call_off_replaced(request: MemberRequest, record: Record, form: LaterComposerForm) -> None:
    """Raises RequestRefused if it was posted while somebody was changing it: it would be said twice."""
    wanted = ScheduledMessage.objects.for_member(request.member).filter(pk=form.cleaned_data["replaces"])
    row = wanted.filter(record=record, member=request.member).first()
    if row is not None:
        scheduling.make_way(row, request.member)


@require_POST
@for_members
def preview_message(request: MemberRequest, pk: int) -> HttpResponse:
    """Who would be told, how, and who not and why; nothing is written."""
    record = mine(request, pk)
    form = _form(request)
    preview = _preview(request, record, form) if form.is_valid() else None
    if request.htmx:
        context = {"form": form, "preview": preview, "record": record}
        foreseen = {
            "foretold": _foretold(record, preview),
            "captured": foretelling.captured(record.workspace, preview) if preview else None,
            "wait": foretelling.waits_for(record.workspace, preview) if preview else None,
        }
        return render(request, "postroom/_preview.html", {**context, **foreseen})
    return chatter(request, record, form=form, preview=preview, foretold=_foretold(record, preview))


def _foretold(record: Record, preview: posting.Preview | None) -> foretelling.Foretold | None:
    return foretelling.foretell(record.workspace, preview) if preview else None


def _preview(request: MemberRequest, record: Record, form: LaterComposerForm) -> posting.Preview | None:
    with transaction.atomic():
        try:
            return posting.preview(_draft(request, record, form, are_files_read=False))
        except RequestRefused as refusal:
            form.add_error(None, str(refusal))
            return None
        finally:
            transaction.set_rollback(True)  # contacts made for addresses that were only typed


def _form(request: MemberRequest) -> LaterComposerForm:
    files: MultiValueDict[str, Any] = request.FILES
    return LaterComposerForm(request.POST, files)


def _draft(
    request: MemberRequest, record: Record, form: LaterComposerForm, *, are_files_read: bool = True
) -> posting.Draft:
    said = form.cleaned_data
    return posting.Draft(
        workspace=record.workspace,
        record=record,
        author=contact_of(request),
        member=request.member,
        text=said["body"],
        subtype_key=said["kind"],
        stream=said["stream"] or None,
        named=_named(record, form),
        attachments=[*_kept(request, record, form), *_uploads(form)] if are_files_read else (),
        are_outsiders_confirmed=said["are_outsiders_confirmed"],
    )


def _named(record: Record, form: ComposerForm) -> list[Contact]:
    return [
        recording.contact_for(record.workspace, mailbox.addr_spec, mailbox.display_name)
        for mailbox in form.cleaned_data["named"]
    ]


def _kept(request: MemberRequest, record: Record, form: LaterComposerForm) -> list[Upload]:
    """The files that go over from what this replaces."""
    row = taken_back(request.member, record, form.cleaned_data["replaces"])
    kept = form.cleaned_data["kept"]
    if row is None or not kept:
        return []
    return [upload for place, upload in enumerate(scheduling.uploads_of(row)) if place in kept]


def _uploads(form: ComposerForm) -> list[Upload]:
    return [
        Upload(file.name or "file", file.content_type or "application/octet-stream", file.read())
        for file in form.cleaned_data["attached"]
    ]
