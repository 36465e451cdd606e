"""What arrived at the built-in SMTP target."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from postroom.flows import target_view
from postroom.flows.target_view import ArrivedWhole
from postroom.web.membership import MemberRequest, for_operators

MAIL_ALONE = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


@require_safe
@for_operators
def target_list(request: MemberRequest) -> HttpResponse:
    """The mails it was given, newest first, all or those for one address."""
    if not target_view.exists():
        raise Http404
    address = request.GET.get("address", "").strip()
    context = {"mails": target_view.arrived(address), "address": address}
    return render(request, "postroom/target.html", context)


@require_safe
@for_operators
def target_mail(request: MemberRequest, mail_id: str) -> HttpResponse:
    """One mail as it arrived."""
    whole = _whole(mail_id)
    return render(request, "postroom/target_mail.html", {"mail": whole.mail, "whole": whole})


@require_safe
@for_operators
@xframe_options_sameorigin
def target_mail_html(request: MemberRequest, mail_id: str) -> HttpResponse:
    """Its HTML alone, for the frame: in a sandbox, with its own inline style and nothing from elsewhere."""
    response = HttpResponse(_whole(mail_id).html or "")
    response["Content-Security-Policy"] = MAIL_ALONE
    return response


def _whole(mail_id: str) -> ArrivedWhole:
    whole = target_view.arrived_whole(mail_id)
    if whole is None:
        raise Http404
    return whole
