"""What every page shows around its own content: counts in the top bar, and the banners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from postroom.conversations.models import Notification
from postroom.outgoing.models import Email, State
from postroom.web.counting import Count, count_up_to
from postroom.web.limits_shown import limit_banner
from postroom.web.membership import MemberRequest
from postroom.workspaces import installation
from postroom.workspaces.capture_rules import Capture
from postroom.workspaces.models import Installation, Member

ENGINE_SILENT_AFTER = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Banners:
    """What everybody in the workspace must know, on every page.

    `capture` says what happens to mail and at which level that is set; `capture_reason` is "copy" if the
    installation found itself to be a copy of another one.
    """

    capture: Capture
    capture_reason: str
    has_placeholder_address: bool
    is_engine_silent: bool


def every_page(request: HttpRequest) -> dict[str, Any]:
    """Counts and banners for a member; nothing for strangers."""
    member = cast(MemberRequest, request).member if hasattr(request, "member") else None
    if member is None:
        return {"is_demo": is_demo(), "has_shared_relay": bool(settings.POSTROOM_RELAY_URL)}
    now = timezone.now()
    return {
        "member": member,
        "workspace": member.workspace,
        "inbox_count": unread_count(member),
        "failed_count": failed_count(member),
        "banners": banners(member, now),
        "limit_banner": limit_banner(member, now),
        "is_demo": is_demo(),
        "has_shared_relay": bool(settings.POSTROOM_RELAY_URL),
    }


def unread_count(member: Member) -> Count:
    """What the member has not read."""
    return count_up_to(99, Notification.objects.filter(member=member, read_at=None))


def failed_count(member: Member) -> Count:
    """Delivery failures of the workspace that nobody has settled."""
    failing = Email.objects.for_member(member).filter(is_listed=True, state=State.FAILED, ignored_at=None)
    return count_up_to(99, failing)


def banners(member: Member, now: datetime) -> Banners:
    """The banners of one page."""
    row = Installation.objects.first()
    return Banners(
        capture=installation.capture_in(member.workspace, row),
        capture_reason=row.capture_reason if row else "",
        has_placeholder_address=member.has_placeholder_address,
        is_engine_silent=_is_engine_silent(member, row, now),
    )


def is_demo() -> bool:
    """Does the built-in SMTP target take the mail of this installation, so that none goes outside?"""
    return bool(settings.POSTROOM_RELAY_URL) and target_url() == settings.POSTROOM_RELAY_URL


def target_url() -> str:
    """Where the built-in target listens, as a relay; "" if the host application has none."""
    config = getattr(settings, "CONFIG", None)
    return f"smtp://{config['POSTROOM_TARGET']}" if config else ""


def _is_engine_silent(member: Member, row: Installation | None, now: datetime) -> bool:
    seen_at = row.engine_seen_at if row else None
    if seen_at is not None and now - seen_at < ENGINE_SILENT_AFTER:
        return False
    overdue = Email.objects.for_member(member).filter(
        state=State.OUTGOING, due_at__lt=now - ENGINE_SILENT_AFTER
    )
    return overdue.exists()
