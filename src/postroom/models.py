"""All tables, for Django to find: imports only."""

from postroom.conversations.models import (
    Address,
    Alias,
    Attachment,
    Contact,
    Follower,
    Message,
    MessageIdAlias,
    Notification,
    Record,
    Subtype,
)
from postroom.diagnostics.models import Event
from postroom.incoming.models import ReceivedEmail, SpooledMail
from postroom.outgoing.models import Attempt, Email, Lane, MailServer, Rendition, Tally
from postroom.workspaces.models import (
    ApiKey,
    IdempotentRequest,
    Installation,
    MailDomain,
    Member,
    SystemParameter,
    Workspace,
)

__all__ = [
    "Address",
    "Alias",
    "ApiKey",
    "Attachment",
    "Attempt",
    "Contact",
    "Email",
    "Event",
    "Follower",
    "IdempotentRequest",
    "Installation",
    "Lane",
    "MailDomain",
    "MailServer",
    "Member",
    "Message",
    "MessageIdAlias",
    "Notification",
    "ReceivedEmail",
    "Record",
    "Rendition",
    "SpooledMail",
    "Subtype",
    "SystemParameter",
    "Tally",
    "Workspace",
]
