"""The wall between workspaces, checked wherever rows are joined."""

from collections.abc import Iterable
from typing import Protocol

from django.utils.translation import gettext as _

from postroom.workspaces.models import Workspace
from postroom.workspaces.refusals import AcrossTheWall


class InWorkspace(Protocol):
    """Any row that belongs to a workspace."""

    workspace_id: int


def refuse_strangers(workspace: Workspace | int, rows: Iterable[InWorkspace | None]) -> None:
    """Raise AcrossTheWall if one of the rows belongs to another workspace; None is passed over."""
    here = workspace if isinstance(workspace, int) else workspace.pk
    if any(row is not None and row.workspace_id != here for row in rows):
        raise AcrossTheWall(_("This belongs to another workspace. Choose something of this workspace."))
