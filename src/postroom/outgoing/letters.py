"""A message as a letter: one for each language and layout that somebody needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from postroom.conversations.models import Message
from postroom.conversations.models.messages import Kind
from postroom.conversations.recipients import Layout
from postroom.outgoing import origin
from postroom.outgoing.routes import Route
from postroom.wire.address import Mailbox
from postroom.wire.compose import Letter, Part
from postroom.wire.threads import ANCESTORS, references


@dataclass(frozen=True, slots=True)
class Frame:
    """What all letters of one message share."""

    message: Message
    route: Route
    reply_to: Mailbox | None
    references: str
    attachments: Sequence[Part]
    left_out: Sequence[str]


def frame_of(
    message: Message, route: Route, attachments: Sequence[Part] = (), left_out: Sequence[str] = ()
) -> Frame:
    """Look up once what every letter of a message says. `left_out` names files too large to be mailed."""
    workspace, domain = message.workspace, origin.default_domain(message.workspace)
    return Frame(
        message,
        route,
        origin.reply_to_of(workspace, domain, message.record),
        references(_ancestors(message), message.message_id),
        attachments,
        left_out,
    )


def letter(frame: Frame, language: str, layout: str) -> Letter:
    """The letter for readers of a language; members get a button to the record, others do not."""
    message = frame.message
    with translation.override(language):
        text, html = _bodies(frame, layout)
        subject = message.subject or (message.record.title if message.record else _("Message"))
    is_from_robot = message.kind == Kind.NOTIFICATION
    return Letter(
        from_=frame.route.from_,
        subject=" ".join(subject.split()),
        date=message.created_at,
        message_id=message.message_id,
        references=frame.references,
        reply_to=frame.reply_to,
        text=text,
        html=html,
        attachments=frame.attachments,
        headers=[("Auto-Submitted", "auto-generated")] if is_from_robot else [],
    )


def _bodies(frame: Frame, layout: str) -> tuple[str, str]:
    message = frame.message
    context = {
        "message": message,
        "body": mark_safe(message.body),  # sanitised when it was stored
        "language": translation.get_language(),
        "url": page_of(message) if layout == Layout.MEMBER and message.record else "",
        "left_out": frame.left_out,
    }
    html = render_to_string("postroom/mail/message.html", context)
    return render_to_string("postroom/mail/message.txt", context).strip() + "\n", html


def page_of(message: Message) -> str:
    """Where a member reads the message."""
    return f"{settings.POSTROOM_BASE_URL}/records/{message.record_id}#message-{message.pk}"


def _ancestors(message: Message) -> list[str]:
    """Message-IDs for References, oldest first: what was said before on the record, then the parent."""
    parent = message.parent
    if parent is None:
        return []
    before = Message.objects.filter(record=parent.record, pk__lt=parent.pk)
    found = before.exclude(subtype__is_internal=True).order_by("-pk").values_list("message_id", flat=True)
    earlier = list(found[: ANCESTORS - 1]) if parent.record else []
    return [*reversed(earlier), parent.message_id]
