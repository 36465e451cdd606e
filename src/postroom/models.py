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
from postroom.diagnostics.models import Counter, Event, Sample
from postroom.incoming.models import ReceivedEmail, SpooledMail
from postroom.outgoing.models import Allowance, Attempt, Email, Lane, MailServer, Rendition, Tally
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.workspaces.models import (
    ApiKey,
    DkimKey,
    IdempotentRequest,
    Installation,
    LimitRequest,
    MailDomain,
    Member,
    Station,
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
    "Counter",
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
    "Sample",
    "ScheduledAction",
    "ScheduledMessage",
    "SpooledMail",
    "Station",
    "Subtype",
    "SystemParameter",
    "Tally",
    "Trigger",
    "Workspace",
]
