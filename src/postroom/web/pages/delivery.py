"""What became of a message's mail, and what to do about what failed."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from postroom.conversations.models import Message
from postroom.flows import foretelling, retrying
from postroom.web.failures import delivery_of
from postroom.web.forms import CorrectionsForm
from postroom.web.membership import MemberRequest, for_members
from postroom.web.timeline import delivery_icon, shown
from postroom.workspaces.refusals import RequestRefused


@require_safe
@for_members
def delivery(request: MemberRequest, pk: int) -> HttpResponse:
    """The panel under the message, or the same on a page of its own."""
    return _panel(request, _mine(request, pk))


@require_safe
@for_members
def icon(request: MemberRequest, pk: int) -> HttpResponse:
    """The envelope as it is now; it asks again as long as something waits."""
    message = _mine(request, pk)
    return render(request, "postroom/_icon.html", {"message": message, "icon": delivery_icon(message)})


@require_POST
@for_members
def send_and_close(request: MemberRequest, pk: int) -> HttpResponse:
    """Try again whom the toggles name, at the corrected addresses; leave the others be."""
    message = _mine(request, pk)
    form = CorrectionsForm(request.POST)
    if not form.is_valid():
        return _panel(request, message, form)
    try:
        count = retrying.send_and_close(
            message,
            request.member,
            again=form.addresses,
            ignored=form.cleaned_data["shown"],
            update_contacts=form.cleaned_data["update"],
        )
    except RequestRefused as refusal:
        form.add_error(None, str(refusal))
        return _panel(request, message, form)
    words = ngettext(
        "%(count)d email is on its way again.", "%(count)d emails are on their way again.", count
    )
    messages.success(request, words % {"count": count})
    if count and (captured := foretelling.capture_words(request.member.workspace)):
        messages.warning(request, captured)
    return _back_to(message)


@require_POST
@for_members
def ignore_all(request: MemberRequest, pk: int) -> HttpResponse:
    """Leave all failures of this message as they are; its envelope is red no more."""
    message = _mine(request, pk)
    retrying.ignore_all(message, request.member)
    return _back_to(message)


def _mine(request: MemberRequest, pk: int) -> Message:
    return get_object_or_404(shown(Message.objects.all(), request.member), pk=pk)


def _panel(request: MemberRequest, message: Message, form: CorrectionsForm | None = None) -> HttpResponse:
    template = "postroom/_delivery.html" if request.htmx else "postroom/delivery.html"
    context = {"message": message, "delivery": delivery_of(message, request.member), "form": form}
    return render(request, template, context, status=422 if form else 200)


def _back_to(message: Message) -> HttpResponse:
    if message.record_id is None:
        return redirect("emails")
    return redirect(f"{reverse('record', args=[message.record_id])}#message-{message.pk}")
