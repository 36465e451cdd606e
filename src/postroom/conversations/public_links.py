"""Links in mails by which a file can be fetched without a login."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from postroom.conversations.models import Attachment
from postroom.wire.link_tokens import DownloadLink
from postroom.workspaces import parameters, tokens

LIFETIME = "mail.attachment.link_days"


def expires_at(workspace_id: int, made_at: datetime) -> datetime:
    """When a link made at some time stops working, by the workspace's system parameter as it is set now."""
    days: int = parameters.value(workspace_id, LIFETIME)
    return made_at + timedelta(days=days)


def attachment_behind(token: str, now: datetime) -> Attachment | None:
    """The file that a link leads to, or None: a token that is none of ours, expired, revoked or orphaned.

    A link is revoked together with the reply address of its message's record; links of later messages work.
    """
    link = tokens.links().recognise(token)
    if not isinstance(link, DownloadLink):
        return None
    found = Attachment.objects.select_related("message__record").filter(pk=link.attachment_id).first()
    made_at = datetime.fromtimestamp(link.made_at_seconds, UTC)
    if found is None or _is_revoked(found, made_at) or now >= expires_at(found.workspace_id, made_at):
        return None
    return found


def _is_revoked(attachment: Attachment, made_at: datetime) -> bool:
    record = attachment.message.record
    revoked_at = record.reply_address_revoked_at if record else None
    return revoked_at is not None and made_at <= revoked_at
