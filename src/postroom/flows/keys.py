"""Keys for programs are made and revoked."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.diagnostics import events
from postroom.workspaces.models import ApiKey, Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers


def make_key(member: Member, name: str, *, by: Member) -> tuple[ApiKey, str]:
    """Make a key that lets a program act as `member`; the text is shown this once and not kept.

    Raises RequestRefused if `by` may not, or if the member may not log in.
    """
    _refuse_unless_admin(by, member.workspace_id)
    if not member.is_active:
        raise RequestRefused(_("This member may not log in, so no program can act for them."))
    if member.is_operator and not by.is_operator:
        raise RequestRefused(_("Only an operator may make a key that acts as an operator."))
    with transaction.atomic():
        key, text = ApiKey.make(member, name[:80])
        events.note("key.made", workspace=member.workspace, member=by, name=key.name, prefix=key.prefix)
    return key, text


def revoke_key(key: ApiKey, *, by: Member) -> ApiKey:
    """Let a key open nothing any more. Doing it twice keeps the first time. Raises RequestRefused."""
    _refuse_unless_admin(by, key.workspace_id)
    if key.revoked_at is None:
        with transaction.atomic():
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            events.note("key.revoked", workspace=key.workspace, member=by, name=key.name, prefix=key.prefix)
    return key


def _refuse_unless_admin(by: Member, workspace_id: int) -> None:
    refuse_strangers(workspace_id, [by])
    if not by.is_admin:
        raise RequestRefused(_("Only an administrator of the workspace may do this."))
