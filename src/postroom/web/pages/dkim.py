"""The buttons of a mail domain: look into DNS, and the keys that sign its mail."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from postroom.flows import domain_check, signing_keys
from postroom.web.membership import MemberRequest, for_admins
from postroom.workspaces.models import DkimKey, MailDomain
from postroom.workspaces.refusals import RequestRefused


@require_POST
@for_admins
def check(request: MemberRequest, pk: int) -> HttpResponse:
    """Ask DNS and show what it says."""
    domain = _domain(request, pk)
    domain_check.check(domain)
    messages.success(request, _("DNS was asked."))
    return redirect("domain", pk)


@require_POST
@for_admins
def make(request: MemberRequest, pk: int) -> HttpResponse:
    """Make a key, or the successor of the one that signs."""
    domain, algorithm = _domain(request, pk), request.POST.get("algorithm", "")
    is_rotating = bool(request.POST.get("rotate"))
    make_one = signing_keys.rotate if is_rotating else signing_keys.make
    done = _("The key is made. Publish its record, then activate it.")
    return _answer(request, pk, done, lambda: make_one(domain, algorithm, by=request.member))


@require_POST
@for_admins
def activate(request: MemberRequest, pk: int, key_pk: int) -> HttpResponse:
    """Let a key sign, if DNS has it."""
    key = _key(request, pk, key_pk)
    done = _("Mail is signed with this key from now on.")
    return _answer(request, pk, done, lambda: signing_keys.activate(key, by=request.member))


@require_POST
@for_admins
def revoke(request: MemberRequest, pk: int, key_pk: int) -> HttpResponse:
    """Let a key sign nothing more."""
    key = _key(request, pk, key_pk)
    done = _("The key signs nothing more.")
    return _answer(request, pk, done, lambda: signing_keys.revoke(key, by=request.member))


def _answer(request: MemberRequest, pk: int, done: str, act: Callable[[], DkimKey]) -> HttpResponse:
    try:
        key = act()
        if key.state == DkimKey.State.ACTIVE:
            domain_check.check(key.mail_domain)  # the page shows what is true now
        messages.success(request, done)
    except RequestRefused as refusal:
        messages.error(request, str(refusal))
    return redirect("domain", pk)


def _domain(request: MemberRequest, pk: int) -> MailDomain:
    return get_object_or_404(MailDomain, pk=pk, workspace=request.member.workspace)


def _key(request: MemberRequest, pk: int, key_pk: int) -> DkimKey:
    keys = DkimKey.objects.filter(workspace=request.member.workspace, mail_domain=pk)
    return get_object_or_404(keys.defer("private").select_related("mail_domain", "workspace"), pk=key_pk)
