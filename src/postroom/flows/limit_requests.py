"""A workspace asks for a higher daily limit, and an operator decides."""

from __future__ import annotations

import dataclasses

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.diagnostics.events import EventKind, note
from postroom.flows import limits
from postroom.flows.notices import tell_members
from postroom.workspaces import plans
from postroom.workspaces.models import LimitRequest, Member, Role, Workspace
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

ASKED, DECLINED = "limit_asked", "limit_declined"
ANSWER_LENGTH = 500


def ask(workspace: Workspace, wanted: int, reason: str, *, by: Member) -> LimitRequest:
    """Ask the operators for a higher limit; they get a notice, wherever in the installation they sit.

    Raises RequestRefused, and then nothing was asked: `by` is no administrator, a request is open already, no
    reason is given, or the figure is none that would help.
    """
    refuse_strangers(workspace.pk, [by])
    _refuse_unless_askable(workspace, wanted, by)
    if not reason.strip():
        raise RequestRefused(_("Say why you need them: the operator decides by it."))
    factors = limits.factors_of(workspace)
    request = LimitRequest(
        workspace=workspace,
        member=by,
        wanted_limit=wanted,
        reason=reason.strip(),
        factors=dataclasses.asdict(factors),
        recommended_limit=plans.recommend(factors),
    )
    try:
        with transaction.atomic():
            request.save(force_insert=True)
            note(EventKind.LIMIT_ASKED, workspace=workspace, member=by, wanted=wanted, text=request.reason)
            tell_members(Member.objects.active().filter(role=Role.OPERATOR), ASKED)
    except IntegrityError as error:
        raise RequestRefused(
            _("A higher limit has been asked for already. The operator's answer comes to your inbox.")
        ) from error
    return request


def withdraw(workspace: Workspace, *, by: Member) -> None:
    """Take the open request back, so that it can be asked anew.

    Raises RequestRefused, with nothing changed, if `by` is no administrator or none is open.
    """
    refuse_strangers(workspace.pk, [by])
    if not by.is_admin:
        raise RequestRefused(_("Only an administrator may withdraw it."))
    with transaction.atomic():
        still_open = LimitRequest.objects.select_for_update().filter(workspace=workspace, decided_at=None)
        request = still_open.first()
        if request is None:
            raise RequestRefused(_("No request is open: none was made, or it has been decided already."))
        note(EventKind.LIMIT_WITHDRAWN, workspace=workspace, member=by, wanted=request.wanted_limit)
        request.delete()


def grant(request: LimitRequest, limit: int, *, by: Member, answer: str = "") -> None:
    """Set the limit and tell who asked. `answer` is a line for them.

    Raises RequestRefused if it is decided or withdrawn already, or as `set_limit`.
    """
    with transaction.atomic():
        _decide(request, by, granted=limit, answer=answer)
        limits.set_limit(request.workspace, limit, None, by=by)
        _tell(request, EventKind.LIMIT_GRANTED, f"granted:{limit}", by)


def decline(request: LimitRequest, *, by: Member, answer: str = "") -> None:
    """Leave the limit as it is and tell who asked. Raises RequestRefused as `grant`."""
    with transaction.atomic():
        _decide(request, by, granted=None, answer=answer)
        _tell(request, EventKind.LIMIT_DECLINED, DECLINED, by)


def _refuse_unless_askable(workspace: Workspace, wanted: int, by: Member) -> None:
    limit = plans.limit_of(workspace)
    if not by.is_admin:
        raise RequestRefused(_("Only an administrator may ask for a higher limit."))
    if limit is None:
        raise RequestRefused(_("This workspace has no daily limit."))
    if not limit < wanted <= limits.LARGEST:
        words = _("The limit is %(limit)d emails a day. Ask for more than that, up to %(largest)d.")
        raise RequestRefused(words % {"limit": limit, "largest": limits.LARGEST})


def _decide(request: LimitRequest, by: Member, *, granted: int | None, answer: str) -> None:
    if not by.is_operator:
        raise RequestRefused(_("Only an operator may do this."))
    if len(answer) > ANSWER_LENGTH:
        words = _("The answer is too long. Write up to %(count)d characters.")
        raise RequestRefused(words % {"count": ANSWER_LENGTH})
    still_open = LimitRequest.objects.filter(pk=request.pk, decided_at=None)
    request.decided_at, request.decided_by, request.granted_limit = timezone.now(), by, granted
    request.answer = answer.strip()
    if not still_open.update(
        decided_at=request.decided_at, decided_by=by, granted_limit=granted, answer=request.answer
    ):
        raise RequestRefused(_("This request has been decided or withdrawn already."))


def _tell(request: LimitRequest, kind: EventKind, reason: str, by: Member) -> None:
    note(
        kind,
        workspace=request.workspace,
        member=by,
        wanted=request.wanted_limit,
        granted=request.granted_limit,
    )
    tell_members(Member.objects.active().filter(pk__in=[request.member_id]), reason)
