"""What is said later: moved, said now, called off, taken back; and emails that leave later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from postroom.conversations.models import Message, ScheduledMessage
from postroom.flows import leaving_later, scheduling
from postroom.flows.showing_later import scheduled_to_show
from postroom.web.later import waiting_as
from postroom.web.later_forms import TimedForm
from postroom.web.membership import MemberRequest, for_members
from postroom.workspaces.refusals import RequestRefused


@require_safe
@for_members
def scheduled(request: MemberRequest, pk: int) -> HttpResponse:
    """One of them with all that it says, also where its record is gone."""
    item = waiting_as(_mine(request, pk), request.member)
    return render(request, "postroom/scheduled.html", {"item": item, "time_form": TimedForm()})


@require_POST
@for_members
def move(request: MemberRequest, pk: int) -> HttpResponse:
    """Say it at another time."""
    row = _mine(request, pk)
    _at_time(request, lambda at: scheduling.reschedule(row, at, request.member))
    return _back_to(row)


@require_POST
@for_members
def post_now(request: MemberRequest, pk: int) -> HttpResponse:
    """Say it now."""
    row = _mine(request, pk)
    try:
        message = scheduling.post_now(row, request.member)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
        return _back_to(row)
    return redirect(f"{reverse('record', args=[message.record_id])}#message-{message.pk}")


@require_POST
@for_members
def cancel(request: MemberRequest, pk: int) -> HttpResponse:
    """Call it off."""
    row = _mine(request, pk)
    _try(request, lambda: scheduling.cancel(row, request.member), _("It will not be said."))
    return _back_to(row)


@require_POST
@for_members
def undo(request: MemberRequest, pk: int) -> HttpResponse:
    """Take it back into the composer."""
    row = _mine(request, pk)
    try:
        scheduling.cancel(row, request.member)
    except RequestRefused:
        messages.warning(request, _("It has left already, so it could not be taken back."))
        return _back_to(row)
    if row.record_id is None:
        return _back_to(row)
    return redirect(f"{reverse('record', args=[row.record_id])}?edit={row.pk}#composer")


@require_POST
@for_members
def discard(request: MemberRequest, pk: int) -> HttpResponse:
    """Drop what was taken back."""
    row = _mine(request, pk)
    scheduling.discard(row, request.member)
    messages.success(request, _("Discarded. Nobody was told."))
    return redirect("records") if row.record_id is None else redirect("record", row.record_id)


@require_POST
@for_members
def move_emails(request: MemberRequest, pk: int) -> HttpResponse:
    """Let the emails of a message leave at another time."""
    message = _message(request, pk)
    _at_time(request, lambda at: leaving_later.move_emails(message, at, request.member))
    return _back_to_message(message)


@require_POST
@for_members
def send_emails_now(request: MemberRequest, pk: int) -> HttpResponse:
    """Let them leave now."""
    message = _message(request, pk)
    _try(
        request, lambda: leaving_later.move_emails(message, None, request.member), _("The emails leave now.")
    )
    return _back_to_message(message)


@require_POST
@for_members
def call_off_emails(request: MemberRequest, pk: int) -> HttpResponse:
    """Cancel them; what was said stays."""
    message = _message(request, pk)
    try:
        count = leaving_later.call_off_emails(message, request.member)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    else:
        words = ngettext("%(count)d email was cancelled.", "%(count)d emails were cancelled.", count)
        messages.success(request, words % {"count": count})
    return _back_to_message(message)


def _mine(request: MemberRequest, pk: int) -> ScheduledMessage:
    rows = scheduled_to_show(ScheduledMessage.objects.for_member(request.member))
    return get_object_or_404(rows.select_related("message"), pk=pk)


def _message(request: MemberRequest, pk: int) -> Message:
    return get_object_or_404(Message.objects.for_member(request.member), pk=pk)


def _at_time(request: MemberRequest, act: Callable[[datetime], object]) -> None:
    """Do it with the time that was chosen, or say what is wrong with it."""
    form = TimedForm(request.POST)
    if form.is_valid():
        _try(request, lambda: act(form.cleaned_data["at"]), _("The time was changed."))
    else:
        complaints = form.errors.get("at") or [_("Choose a date and a time.")]
        messages.error(request, " ".join(map(str, complaints)))


def _try(request: MemberRequest, act: Callable[[], object], done: str) -> None:
    try:
        act()
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, done)


def _back_to(row: ScheduledMessage) -> HttpResponse:
    if row.record_id is None:
        return redirect("scheduled", row.pk)
    return redirect(f"{reverse('record', args=[row.record_id])}#waiting")


def _back_to_message(message: Message) -> HttpResponse:
    if message.record_id is None:
        return redirect("emails")
    return redirect(f"{reverse('record', args=[message.record_id])}#message-{message.pk}")
