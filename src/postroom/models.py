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
    ScheduledMessage,
    Subtype,
)
from postroom.diagnostics.models import Event
from postroom.incoming.models import ReceivedEmail, SpooledMail
from postroom.outgoing.models import Allowance, Attempt, Email, Lane, MailServer, Rendition, Tally
from postroom.workspaces.models import (
    ApiKey,
    DkimKey,
    IdempotentRequest,
    Installation,
    LimitRequest,
    MailDomain,
    Member,
    SystemParameter,
    Workspace,
)

__all__ = [
    "Address",
    "Alias",
    "Allowance",
    "ApiKey",
    "Attachment",
    "Attempt",
    "Contact",
    "DkimKey",
    "Email",
    "Event",
    "Follower",
    "IdempotentRequest",
    "Installation",
    "Lane",
    "LimitRequest",
    "MailDomain",
    "MailServer",
    "Member",
    "Message",
    "MessageIdAlias",
    "Notification",
    "ReceivedEmail",
    "Record",
    "Rendition",
    "ScheduledMessage",
    "SpooledMail",
    "Subtype",
    "SystemParameter",
    "Tally",
    "Workspace",
]
