"""Following no more: from the mail by its link, and in one click by the mail program (RFC 8058)."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from postroom.conversations.models import Contact, Follower
from postroom.flows import recording
from postroom.flows.unfollowing import LinkedFollow, follow_behind, unfollow_by_link
from postroom.web.membership import MemberRequest, for_members
from postroom.web.pages.records import mine


@require_http_methods(["GET", "HEAD", "POST"])
@for_members
def unfollow(request: MemberRequest, pk: int) -> HttpResponse:
    """Ask, then let the member themselves follow the record no more; and follow it again, if they want."""
    record = mine(request, pk)
    contact = Contact.objects.filter(member=request.member).first()
    if request.method == "POST" and contact is not None and "follow" in request.POST:
        recording.follow(record, contact, by=request.member)
        messages.success(request, _("You follow %(record)s again.") % {"record": record})
        return redirect("record", pk)
    if request.method == "POST":
        if contact is not None:
            recording.unfollow(record, contact, by=request.member)
        messages.success(request, _("You do not follow %(record)s any more.") % {"record": record})
        return redirect("unfollow", pk)
    is_following = Follower.objects.filter(record=record, contact=contact).exists()
    return render(request, "postroom/unfollow.html", {"record": record, "is_following": is_following})


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def one_click(request: HttpRequest, token: str) -> HttpResponse:
    """What List-Unsubscribe leads to: POST unfollows without a login, GET only asks.

    No cookie is looked at (RFC 8058 §3.2), and POST twice is as good as once. Reading the page changes
    nothing, because programs that check links for harm read them all.
    """
    found = follow_behind(token)
    if found is None:
        response = render(request, "postroom/link_gone.html", status=404)
    else:
        response = _answer(request, found)
    response["Cache-Control"] = "private, no-store"
    response["X-Robots-Tag"] = "noindex"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _answer(request: HttpRequest, found: LinkedFollow) -> HttpResponse:
    """Whoever follows no more, and whoever has their old mail, learns nothing new of the record by it."""
    is_done = request.method == "POST"
    if is_done:
        unfollow_by_link(found)
    shown = {"title": found.record.title, "contact": found.contact} if found.is_following else {}
    return render(request, "postroom/one_click.html", {**shown, "is_done": is_done or not found.is_following})
