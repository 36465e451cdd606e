"""What spans say of the mail: ids that the log, the trail and the API use; no content."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from postroom.conversations.models import Message
from postroom.diagnostics.telemetry import Attributes, span
from postroom.outgoing.models import MailServer
from postroom.outgoing.settling import Ended
from postroom.schedule.models import ScheduledAction

POST, RECEIVE, DRAIN, SETTLE, ACTION = "post", "receive", "drain", "settle", "action"
EMAILS_NAMED = 20
_HEAD_OCTETS = 65_536
_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>\r\n]{1,250}>)", re.IGNORECASE | re.MULTILINE)


def of_message(message: Message) -> Attributes:
    """What was posted."""
    return {
        "postroom.workspace": message.workspace_id,
        "postroom.message": message.pk,
        "messaging.message.id": message.message_id,
    }


def receiving(source: str, octets: bytes) -> contextlib.AbstractContextManager[None]:
    """Around a mail that comes in, which is named by its own Message-ID."""
    return span(RECEIVE, lambda: {"postroom.source": source, "messaging.message.id": _message_id_of(octets)})


def _message_id_of(octets: bytes) -> str | None:
    head = octets[:_HEAD_OCTETS].partition(b"\r\n\r\n")[0]
    found = _MESSAGE_ID.search(head)
    return found[1].decode("ascii", "replace") if found else None


def draining(server: MailServer, lease: str) -> contextlib.AbstractContextManager[None]:
    """Around a run over a server's lanes."""
    return span(DRAIN, lambda: {"postroom.server": server.pk, "postroom.lease": lease})


def settling(lease: str, ended: Sequence[Ended]) -> contextlib.AbstractContextManager[None]:
    """Around a group of outcomes that is written back; names its first Emails and their messages."""
    if not ended:
        return contextlib.nullcontext()
    return span(
        SETTLE,
        lambda: {
            "postroom.lease": lease,
            "postroom.email_count": len(ended),
            "postroom.emails": tuple(each.email.email_id for each in ended[:EMAILS_NAMED]),
            "postroom.messages": tuple({each.email.message_id: 0 for each in ended[:EMAILS_NAMED]}),
        },
    )


def acting(action: ScheduledAction) -> contextlib.AbstractContextManager[None]:
    """Around a run of a scheduled action."""
    return span(ACTION, lambda: {"postroom.workspace": action.workspace_id, "postroom.action": action.key})
