"""What a member has read."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models.functions import Now

from postroom.conversations.models import Message, Notification
from postroom.workspaces.models import Member


def mark_read(member: Member, ids: Collection[int] = ()) -> int:
    """Mark these of the member's notifications as read (all if none is named); returns how many."""
    unread = Notification.objects.filter(member=member, read_at=None)
    if ids:
        unread = unread.filter(pk__in=ids)
    return unread.update(read_at=Now())


def seen(member: Member, messages: Collection[Message]) -> int:
    """The member has these messages on the screen: what told of them is read. Failures stay until settled."""
    unread = Notification.objects.filter(member=member, read_at=None, message__in=messages)
    return unread.exclude(kind=Notification.Kind.FAILURE).update(read_at=Now())
