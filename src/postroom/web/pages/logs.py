"""Technical → Logs: the lines of the log that fit, newest first, for operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from postroom.diagnostics import log_pages, log_search, mail_log
from postroom.diagnostics.log_pages import Page, Place
from postroom.diagnostics.log_search import Found, Wanted
from postroom.web.membership import MemberRequest, for_members
from postroom.wire.address import AddressError, normalise
from postroom.workspaces.models import Member, Role

FIELDS = ("q", "message", "address", "workspace", "since")
HIDDEN_FIELDS = ("timestamp", "level", "event")


@require_safe
@for_members
def logs(request: MemberRequest) -> HttpResponse:
    """Search the log. It holds lines of all workspaces: whoever is no operator is told whom to ask."""
    if not request.member.is_operator:
        return render(request, "postroom/technical/logs.html", {"ask": _operators(request.member)})
    said = {name: request.GET.get(name, "").strip() for name in FIELDS}
    context: dict[str, Any] = {"said": said, "folder": str(folder())}
    try:
        wanted = _wanted(said)
    except (ValueError, OverflowError):
        words = _("“%(time)s” is no time. Write 2d, 3h, or 2026-11-21T05:00 (UTC).") % {"time": said["since"]}
        return render(request, "postroom/technical/logs.html", {**context, "wrong_time": words}, status=422)
    page = log_pages.newest(folder(), wanted, before=Place.parse(request.GET.get("before", "")))
    return render(request, "postroom/technical/logs.html", {**context, **_shown(page, said)})


def folder() -> Path:
    """Where this installation keeps its log."""
    return Path(settings.POSTROOM_DATA) / "logs"


def _operators(member: Member) -> list[str]:
    """Who of the member's own workspace could look; those of others are nobody's to know."""
    rows = Member.objects.filter(workspace=member.workspace, role=Role.OPERATOR, is_active=True)
    return list(rows.order_by("user__email").values_list("user__email", flat=True)[:10])


def _wanted(said: dict[str, str]) -> Wanted:
    """Raises ValueError for a time that cannot be read."""
    since = log_search.moment(said["since"], timezone.now()) if said["since"] else None
    return Wanted(
        text=said["q"],
        message_id=said["message"],
        address=_normalised(said["address"]),
        workspace=said["workspace"],
        since=since,
        keys=mail_log.tag_keys(),
    )


def _normalised(address: str) -> str:
    try:
        return normalise(address) if address else ""
    except AddressError:
        return address


def _shown(page: Page, said: dict[str, str]) -> dict[str, Any]:
    asked = {name: value for name, value in said.items() if value}
    return {
        "lines": [_line(found) for found in page.found],
        "older": urlencode({**asked, "before": str(page.next)}) if page.next else "",
        "is_cut": page.is_cut,
        "unread": page.looked.unread,
        "megabytes": log_pages.MOST_OCTETS // 1024 // 1024,
    }


def _line(found: Found) -> dict[str, Any]:
    fields = found.fields
    return {
        "at": f"{found.at:%Y-%m-%d %H:%M:%S}.{found.at.microsecond // 1000:03d}" if found.at else "",
        "level": str(fields.get("level", "")).upper(),
        "event": "" if log_search.is_words(fields) else fields.get("event", ""),
        "fields": [(name, value) for name, value in fields.items() if name not in HIDDEN_FIELDS],
        "first": _without_head(found),
        "text": found.text,
        "file": found.file,
    }


def _without_head(found: Found) -> str:
    """The first line of it, without the time, the level and the event, which stand beside it."""
    fields = {name: value for name, value in found.fields.items() if name not in HIDDEN_FIELDS}
    if fields and not log_search.is_words(found.fields):
        return " ".join(f"{name}={value}" for name, value in fields.items())
    first = found.text.split("\n", 1)[0]
    level = str(found.fields.get("level", "")).upper()
    return first.partition(f" {level} ")[2] or first if level else first
