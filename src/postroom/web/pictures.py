"""Pictures of a message, shown where its text has them."""

from __future__ import annotations

import re

from django.urls import reverse

from postroom.conversations.models import Attachment, Message

_SHOWN = frozenset(["image/png", "image/jpeg", "image/gif", "image/webp"])
_PICTURE = re.compile(r'(<img [^<>]*?src=")cid:([^"]{1,255})(")', re.IGNORECASE)


def with_pictures(message: Message) -> str:
    """The sanitised body, its `cid:` pictures read from the message's own files; others stay as they are."""
    if "cid:" not in message.body:
        return message.body
    files = {file.content_id: file for file in message.attachments.all() if _is_shown(file)}

    def found(picture: re.Match[str]) -> str:
        file = files.get(picture[2])
        return f"{picture[1]}{reverse('attachment', args=[file.pk])}{picture[3]}" if file else picture[0]

    return _PICTURE.sub(found, message.body)


def _is_shown(file: Attachment) -> bool:
    return bool(file.content_id) and file.content_type in _SHOWN
