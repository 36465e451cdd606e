"""Capture mode is switched on, changed and switched off, for one workspace or for the whole installation."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from postroom.diagnostics import events
from postroom.diagnostics.events import EventKind
from postroom.flows import retrying
from postroom.outgoing.models import Email, State
from postroom.outgoing.queue import EmailQuerySet
from postroom.workspaces import capture_rules, installation
from postroom.workspaces.answering import administrator_of
from postroom.workspaces.capture_rules import ALL, ALLOW, REDIRECT, Capture
from postroom.workspaces.models import MailDomain, Member, Workspace
from postroom.workspaces.refusals import RequestRefused


def switch_on(
    workspace: Workspace | None,
    *,
    mode: str = ALL,
    to: str = "",
    allowed: str = "",
    by: Member | None = None,
) -> None:
    """Capture the mail of one workspace, or (None) of the installation; or change how it is captured.

    `mode` all keeps everything in, redirect sends everything to `to`, allow lets only the domains and
    addresses in `allowed` through. Raises RequestRefused, naming the remedy, with nothing changed.
    """
    wanted = _checked(mode, to, allowed)
    with transaction.atomic():
        installation.start_capture(
            workspace=workspace, mode=wanted.mode, to=wanted.to, allowed=wanted.allowed_text
        )
        _note(EventKind.CAPTURE_ON, workspace, by, wanted)


def _checked(mode: str, to: str, allowed: str) -> Capture:
    try:
        wanted = capture_rules.capture(mode, to=to, allowed=allowed)
    except ValueError as error:
        raise RequestRefused(_words_of(mode, str(error))) from error
    if wanted.to and MailDomain.objects.filter(domain=wanted.to.rpartition("@")[2]).exists():
        raise RequestRefused(_("%(address)s leads back here. Name an address elsewhere.") % {"address": to})
    return wanted


def _words_of(mode: str, error: str) -> str:
    if mode == REDIRECT:
        return _("Name the one address that gets all mail, such as you@example.com.")
    if mode == ALLOW:
        return _("Name the domains and addresses that mail may go to, such as example.com, ana@example.org.")
    return error


def switch_off(
    workspace: Workspace | None, *, is_captured_retried: bool = False, by: Member | None = None
) -> int:
    """End this level's capture; returns how many captured Emails are Outgoing again.

    What was captured stays Cancelled unless `is_captured_retried`, and where another level still captures.
    """
    with transaction.atomic():
        if workspace is None:
            installation.stop_capture()
        else:
            installation.stop_capture(workspace=workspace)
        _note(EventKind.CAPTURE_OFF, workspace, by)
    if not is_captured_retried:
        return 0
    return sum(_retry_captured(here, by) for here in _meant(workspace))


def captured_count(workspace: Workspace | None) -> int:
    """How many Emails of one workspace, or (None) of all, were captured and may leave if they are retried."""
    return _captured().filter(workspace__in=_meant(workspace)).count()


def _captured() -> EmailQuerySet:
    return Email.objects.filter(state=State.CANCELLED, cancelled_because="captured")


def _meant(workspace: Workspace | None) -> list[Workspace]:
    rows = list(Workspace.objects.all()) if workspace is None else [workspace]
    captures = installation.captures_of([row.pk for row in rows])
    return [row for row in rows if captures[row.pk].mode != ALL]


def _note(
    kind: str, workspace: Workspace | None, by: Member | None, wanted: Capture = capture_rules.NO_CAPTURE
) -> None:
    for here in Workspace.objects.all() if workspace is None else [workspace]:
        events.note(
            kind,
            workspace=here,
            member=by if by and by.workspace_id == here.pk else None,
            said_by=events.told_as(by) if by else events.COMMAND,
            mode=wanted.mode,
            to=wanted.to,
            allowed=wanted.allowed_text,
        )


def _retry_captured(workspace: Workspace, by: Member | None) -> int:
    captured = _captured().filter(workspace=workspace)
    acting = by if by and by.workspace_id == workspace.pk else administrator_of(workspace)
    return retrying.retry_what_can(captured, acting).count if acting else 0
