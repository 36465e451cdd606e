"""Many rows of the queue at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from postroom.outgoing.models import Email
    from postroom.workspaces.models import Member


class EmailQuerySet(models.QuerySet["Email"]):
    """Emails of a workspace."""

    def for_member(self, member: Member) -> EmailQuerySet:
        """Those a member may see: all of the workspace."""
        return self.filter(workspace_id=member.workspace_id)
