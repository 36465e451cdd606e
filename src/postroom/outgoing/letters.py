"""A message as a letter: one for each language and layout that somebody needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from postroom.conversations import public_links
from postroom.conversations.models import Message
from postroom.conversations.models.messages import Kind
from postroom.conversations.recipients import Layout
from postroom.outgoing import origin
from postroom.outgoing.enclosures import Enclosed
from postroom.outgoing.routes import Route
from postroom.wire.address import Mailbox
from postroom.wire.automatic import MARKS_OF_AUTOMATIC_MAIL
from postroom.wire.compose import Letter, Template, compile_letter, field
from postroom.wire.threads import ANCESTORS, references

UNFOLLOW_FIELD = "unfollow"


@dataclass(frozen=True, slots=True)
class Frame:
    """What all letters of one message share."""

    message: Message
    route: Route
    reply_to: Mailbox | None
    references: str
    enclosed: Enclosed
    links_until: datetime | None


def frame_of(message: Message, route: Route, files: Enclosed | None = None) -> Frame:
    """Look up once what every letter of a message says."""
    workspace, domain = message.workspace, origin.default_domain(message.workspace)
    files = files or Enclosed()
    return Frame(
        message,
        route,
        origin.reply_to_of(workspace, domain, message.record),
        references(_ancestors(message), message.message_id),
        files,
        public_links.expires_at(workspace.pk, message.created_at) if files.linked else None,
    )


def compiled(frame: Frame, language: str, layout: str) -> Template:
    """The octets for readers of a language, with what differs from copy to copy left open."""
    fields = [UNFOLLOW_FIELD] if _may_unfollow(frame, layout) else []
    return compile_letter(letter(frame, language, layout), fields)


def letter(frame: Frame, language: str, layout: str) -> Letter:
    """The letter for readers of a language; what a layout shows is said at `recipients.Layout`."""
    message = frame.message
    with translation.override(language):
        text, html = _bodies(frame, layout)
        subject = message.subject or (message.record.title if message.record else _("Message"))
    return Letter(
        from_=frame.route.from_,
        subject=" ".join(subject.split()),
        date=timezone.localtime(message.created_at),
        message_id=message.message_id,
        references=frame.references,
        reply_to=frame.reply_to,
        text=text,
        html=html,
        attachments=frame.enclosed.attached,
        headers=_headers(frame, layout),
    )


def _headers(frame: Frame, layout: str) -> list[tuple[str, str]]:
    """What marks a mail that nobody wrote, and how a follower's mail program unfollows in one click."""
    headers = list(MARKS_OF_AUTOMATIC_MAIL) if frame.message.kind == Kind.NOTIFICATION else []
    if _may_unfollow(frame, layout):
        url = f"{settings.POSTROOM_BASE_URL}/u/{field(UNFOLLOW_FIELD)}"
        headers.append(("List-Unsubscribe", f"<{url}>"))
        if url.startswith("https:"):  # RFC 8058 §3.1 knows no other scheme
            headers.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return headers


def _may_unfollow(frame: Frame, layout: str) -> bool:
    return layout == Layout.FOLLOWER and frame.message.record_id is not None


def _bodies(frame: Frame, layout: str) -> tuple[str, str]:
    message = frame.message
    is_for_member = layout != Layout.OUTSIDE and message.record_id is not None
    context = {
        "message": message,
        "body": mark_safe(frame.enclosed.with_links(message.body)),  # sanitised when it was stored
        "language": translation.get_language(),
        "url": page_of(message) if is_for_member else "",
        "unfollow_url": unfollow_page_of(message) if _may_unfollow(frame, layout) else "",
        "linked": frame.enclosed.linked,
        "links_until": frame.links_until,
    }
    html = render_to_string("postroom/mail/message.html", context)
    return render_to_string("postroom/mail/message.txt", context).strip() + "\n", html


def unfollow_page_of(message: Message) -> str:
    """Where a member who is logged in stops following; the same for everybody, so bodies stay the same."""
    return f"{settings.POSTROOM_BASE_URL}/records/{message.record_id}/unfollow"


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
