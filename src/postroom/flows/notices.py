"""Tells members that something needs a look, or that what they asked for is decided."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from postroom.conversations.models import Notification
from postroom.workspaces.models import Member, Role, Workspace


def tell_admins(workspace: Workspace, reason: str) -> int:
    """Give each administrator of a workspace a notice. Returns how many were told."""
    admins = Member.objects.active().filter(workspace=workspace, role__in=[Role.OPERATOR, Role.ADMIN])
    return tell_members(admins, reason)


def tell_in_charge(workspace: Workspace, reason: str) -> int:
    """Give a notice to the administrators of a workspace and to the operators of the installation."""
    is_admin = Q(workspace=workspace, role__in=[Role.OPERATOR, Role.ADMIN])
    return tell_members(Member.objects.active().filter(is_admin | Q(role=Role.OPERATOR)), reason)


def tell_members(members: QuerySet[Member], reason: str) -> int:
    """Give each of them a notice; an unread one of the same reason only counts up. Returns how many."""
    with transaction.atomic():
        notices = Notification.objects.filter(
            member__in=members.values("pk"), kind=Notification.Kind.NOTICE, reason=reason, read_at=None
        )
        notices.update(count=F("count") + 1, created_at=Now())
        untold = members.exclude(pk__in=notices.values("member"))
        Notification.objects.bulk_create(
            Notification(
                workspace_id=member.workspace_id, member=member, kind=Notification.Kind.NOTICE, reason=reason
            )
            for member in untold.order_by("pk")
        )
        return members.count()
