"""Tells the administrators of a workspace that something needs a look."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from postroom.conversations.models import Notification
from postroom.workspaces.models import Member, Role, Workspace


def tell_admins(workspace: Workspace, reason: str) -> int:
    """Give each administrator a notice; an unread one of the same reason only counts up. Returns how many."""
    with transaction.atomic():
        notices = Notification.objects.filter(
            workspace=workspace, kind=Notification.Kind.NOTICE, reason=reason, read_at=None
        )
        notices.update(count=F("count") + 1, created_at=Now())
        admins = Member.objects.active().filter(workspace=workspace, role__in=[Role.OPERATOR, Role.ADMIN])
        untold = admins.exclude(pk__in=notices.values("member"))
        Notification.objects.bulk_create(
            Notification(workspace=workspace, member=member, kind=Notification.Kind.NOTICE, reason=reason)
            for member in untold.order_by("pk")
        )
        return admins.count()
