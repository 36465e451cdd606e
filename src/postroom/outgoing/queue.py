"""Many rows of the queue at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

if TYPE_CHECKING:
    from postroom.outgoing.models import Email  # noqa: F401 (named in the base class)
    from postroom.workspaces.models import Member


class EmailQuerySet(models.QuerySet["Email"]):
    """Emails of a workspace."""

    def for_member(self, member: Member) -> EmailQuerySet:
        """Those a member may see: all of the workspace."""
        return self.filter(workspace_id=member.workspace_id)

    def listed(self) -> EmailQuerySet:
        """Those the queue page shows: what is listed, and whatever waits in a lane that is held or paused."""
        is_kept = Q(lane__held_until__gt=Now()) | Q(lane__is_paused=True)
        return self.filter(Q(is_listed=True) | (Q(state="outgoing") & is_kept))

    def captured(self) -> EmailQuerySet:
        """Those that capture mode kept in."""
        return self.filter(cancelled_because="captured")

    def redirected(self) -> EmailQuerySet:
        """Those that capture mode sends, or sent, to another address."""
        return self.exclude(redirected_to="")

    def failed(self) -> EmailQuerySet:
        """Those that turn their message's envelope red: Delivery Failed and not ignored."""
        return self.filter(state="failed", ignored_at=None)

    def retryable(self) -> EmailQuerySet:
        """Those that may be sent again: Delivery Failed and Cancelled."""
        return self.filter(state__in=("failed", "cancelled"))

    def waiting(self) -> EmailQuerySet:
        """Outgoing ones that no worker has in hand: they may be sent now or cancelled."""
        return self.filter(state="outgoing", lease="")
