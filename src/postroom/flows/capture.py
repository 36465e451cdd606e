"""Capture mode is switched on and off, for one workspace or for the whole installation."""

from __future__ import annotations

from django.db import transaction

from postroom.diagnostics import events
from postroom.flows import retrying
from postroom.outgoing.models import Email, State
from postroom.workspaces import installation
from postroom.workspaces.answering import administrator_of
from postroom.workspaces.models import Member, Workspace


def switch_on(workspace: Workspace | None, *, by: Member | None = None) -> None:
    """Let nothing leave: from one workspace, or (None) from the installation."""
    with transaction.atomic():
        if workspace is None:
            installation.start_capture()
        else:
            installation.start_capture(workspace=workspace)
        _note("capture.on", workspace, by)


def switch_off(
    workspace: Workspace | None, *, is_captured_retried: bool = False, by: Member | None = None
) -> int:
    """Let mail leave again; returns how many captured Emails are Outgoing again.

    What was captured stays Cancelled unless `is_captured_retried`.
    """
    with transaction.atomic():
        if workspace is None:
            installation.stop_capture()
        else:
            installation.stop_capture(workspace=workspace)
        _note("capture.off", workspace, by)
    if not is_captured_retried:
        return 0
    return sum(_retry_captured(here, by) for here in _meant(workspace))


def _meant(workspace: Workspace | None) -> list[Workspace]:
    return list(Workspace.objects.filter(is_capturing=False)) if workspace is None else [workspace]


def _note(kind: str, workspace: Workspace | None, by: Member | None) -> None:
    for here in Workspace.objects.all() if workspace is None else [workspace]:
        events.note(kind, workspace=here, member=by if by and by.workspace_id == here.pk else None)


def _retry_captured(workspace: Workspace, by: Member | None) -> int:
    captured = Email.objects.filter(workspace=workspace, state=State.CANCELLED, cancelled_because="captured")
    acting = by if by and by.workspace_id == workspace.pk else administrator_of(workspace)
    return retrying.retry(captured, acting) if acting else 0
