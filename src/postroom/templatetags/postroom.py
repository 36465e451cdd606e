"""The few things that templates of Postroom say in their own words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django import template
from django.conf import settings
from django.template.defaultfilters import date as format_date
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from lucide.templatetags.lucide import lucide

from postroom.conversations.models import Message, Subtype
from postroom.web import notice_words
from postroom.web.links import link_addresses
from postroom.web.pictures import with_pictures
from postroom.web.quotes import fold_quotes
from postroom.workspaces.time_zones import zone_names

register = template.Library()


@register.simple_tag
def icon(name: str) -> str:
    """An icon beside words: invisible to screen readers, as tall as the text."""
    return str(lucide(name, size=16, aria_hidden="true", focusable="false"))


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """A time as people say it; the exact one with its zone is in the title.

    The words are made here for pages without JavaScript; the script says them again in the reader's zone.
    """
    if at is None:
        return ""
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.isoformat(timespec="seconds"),
        format_date(at, "j M Y H:i:s e"),
        in_words(at, timezone.now()),
    )


def in_words(at: datetime, now: datetime) -> str:
    """Relative within a day ("in 4 min", "2 h ago"), else the date."""
    gap = at - now
    if abs(gap) < timedelta(seconds=50):
        return _("now")
    if abs(gap) >= timedelta(hours=23):
        return format_date(at, "j M Y" if at.year != now.year else "j M H:i")
    minutes = max(1, round(abs(gap).total_seconds() / 60))
    length = _length(minutes)
    if gap > timedelta(0):
        return _("in %(length)s") % {"length": length}
    return _("%(length)s ago") % {"length": length}


def _length(minutes: int) -> str:
    if minutes < 60:
        return ngettext("%(count)d min", "%(count)d min", minutes) % {"count": minutes}
    hours = round(minutes / 60)
    return ngettext("%(count)d h", "%(count)d h", hours) % {"count": hours}


@register.simple_tag
def zones() -> Sequence[str]:
    """The names of all time zones, to choose from."""
    return zone_names()


@register.filter
def utc(at: datetime | None) -> str:
    """A time as a browser's field for date and time takes it, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M}" if at else ""


@register.filter
def clock(at: datetime | None) -> SafeString | str:
    """The time of day, for lines under a rule that names the day."""
    if at is None:
        return ""
    return format_html(
        '<time datetime="{}" title="{}" data-clock>{}</time>',
        at.isoformat(timespec="seconds"),
        format_date(at, "j M Y H:i:s e"),
        format_date(at, "H:i"),
    )


@register.filter
def initials(name: Any) -> str:
    """One or two letters for the round picture of a person."""
    words = [word for word in str(name).replace("@", " ").split() if word[0].isalnum()]
    if not words:
        return "?"
    return (words[0][0] + (words[1][0] if len(words) > 1 else "")).upper()


@register.filter
def folded(body: str) -> SafeString:
    """A message's body (sanitised when it was stored): addresses are links, quoted mail is folded away."""
    return fold_quotes(link_addresses(body), _("Quoted text"))


@register.filter
def pictured(message: Message) -> str:
    """A message's body with its pictures where the text has them."""
    return with_pictures(message)


@register.filter
def absolute(path: str) -> str:
    """A path of ours as an address to copy."""
    return f"{settings.POSTROOM_BASE_URL}{path}"


@register.simple_tag(takes_context=True)
def nav_link(context: template.Context, page: str, label: str, count: Any = "", tone: str = "") -> SafeString:
    """A link of the top bar; it knows whether it leads to where one is."""
    path, here = reverse(page), context["request"].path
    is_here = here == path or (path != "/" and here.startswith(f"{path}/"))
    badge = format_html(' <b class="{}">{}</b>', tone, count) if count else ""
    current = mark_safe(' aria-current="page"') if is_here else ""
    return format_html('<a href="{}"{}>{}{}</a>', path, current, label, badge)


@register.simple_tag(takes_context=True)
def with_query(context: template.Context, **changes: Any) -> str:
    """The address of this page with some of its query changed; empty values are left out."""
    query = context["request"].GET.copy()
    query.pop("before", None)
    for name, value in changes.items():
        query.pop(name, None)
        if value not in ("", None):
            query[name] = str(value)
    return f"?{query.urlencode()}"


@register.simple_tag
def solid_envelope() -> SafeString:
    """The filled envelope of a message with failures: told by its shape too, not by its colour alone."""
    return mark_safe(
        '<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">'
        '<g fill="currentColor">'
        '<path d="M1.2 4.4A1.4 1.4 0 0 1 2.6 3h10.8a1.4 1.4 0 0 1 1.4 1.4v.2L8 9.2 1.2 4.6z"/>'
        '<path d="M1.2 6.2 8 10.8l6.8-4.6v5.4a1.4 1.4 0 0 1-1.4 1.4H2.6a1.4 1.4 0 0 1-1.4-1.4z"/></g>'
        "</svg>"
    )


@register.filter
def day_name(day: date) -> str:
    """Today, Yesterday, or the date."""
    gap = (timezone.localdate() - day).days
    return {0: _("Today"), 1: _("Yesterday")}.get(gap) or format_date(day, "DATE_FORMAT")


@register.filter
def subtype_name(subtype: Subtype) -> str:
    """A subtype's name; those that every workspace has are said in the reader's language."""
    return {
        "discussions": _("Discussions"),
        "note": _("Note"),
        "activities": _("Activities"),
    }.get(subtype.key, subtype.name)


@register.simple_tag
def solid_octagon() -> SafeString:
    """The sign of a failure, the only filled shape in a list."""
    return mark_safe(
        '<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">'
        '<path d="M5.1 1.6h5.8l3.5 3.5v5.8l-3.5 3.5H5.1l-3.5-3.5V5.1z" fill="currentColor"/>'
        '<path d="M8 4.6v4.2M8 11.1v.2" stroke="var(--on-failed)" stroke-width="1.7" stroke-linecap="round"/>'
        "</svg>"
    )


@register.filter
def notice_text(reason: str) -> str:
    """What a notice says."""
    return notice_words.words_of(reason)


@register.filter
def notice_page(reason: str) -> str:
    """The page a notice leads to, "" if there is none."""
    return notice_words.page_of(reason)
