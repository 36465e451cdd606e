"""By which Message-IDs a message is known: its own, and others that it came with."""

from __future__ import annotations

from postroom.conversations.models import Message, MessageIdAlias
from postroom.wire.threads import fits_a_line


def usable(named: str | None) -> str | None:
    """The Message-ID that a mail came with, if our own mails can carry it; None if a new one is needed."""
    return named if named and fits_a_line(named) else None


def remember(message: Message, named: str | None) -> None:
    """Let answers find the message by the Message-ID it came with, too, if it has another one here."""
    if named and named != message.message_id:
        MessageIdAlias.objects.get_or_create(
            workspace_id=message.workspace_id, alias=named, defaults={"message": message}
        )
