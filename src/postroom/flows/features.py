"""What a workspace is used for, as far as an operator counts it for the daily limit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.db import transaction
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.diagnostics import events
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.refusals import RequestRefused

KNOWN: Mapping[str, str | Promise] = {
    "email_marketing": gettext_lazy("Email marketing"),
    "marketing_automation": gettext_lazy("Marketing automation"),
}


def names_in(workspace: Workspace) -> list[str]:
    """The ids of the features in use, in the order of `KNOWN`."""
    stored = set(workspace.features.split(","))
    return [name for name in KNOWN if name in stored]


def set_features(workspace: Workspace, names: Collection[str], *, by: Member) -> None:
    """Say which features are in use. Raises RequestRefused for an unknown one, or if `by` is no operator."""
    if not by.is_operator:
        raise RequestRefused(_("Only an operator may do this."))
    unknown = sorted(set(names) - set(KNOWN))
    if unknown:
        words = _("There is no feature %(name)s. Choose from: %(known)s.")
        raise RequestRefused(words % {"name": ", ".join(unknown), "known": ", ".join(KNOWN)})
    stored = ",".join(name for name in KNOWN if name in names)
    if stored == workspace.features:
        return
    with transaction.atomic():
        Workspace.objects.filter(pk=workspace.pk).update(features=stored)
        events.note("workspace.features", workspace=workspace, member=by, features=stored)
    workspace.features = stored
