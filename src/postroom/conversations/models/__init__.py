"""The tables of what is said."""

from postroom.conversations.models.addresses import Address, Contact
from postroom.conversations.models.messages import (
    Attachment,
    Message,
    MessageIdAlias,
    Notification,
    UnusedFile,
)
from postroom.conversations.models.records import Alias, Follower, Record, Subtype
from postroom.conversations.models.scheduled import ScheduledMessage

__all__ = [
    "Address",
    "Alias",
    "Attachment",
    "Contact",
    "Follower",
    "Message",
    "MessageIdAlias",
    "Notification",
    "Record",
    "ScheduledMessage",
    "Subtype",
    "UnusedFile",
]
