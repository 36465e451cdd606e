"""The words of the trail: one sentence for each decision, state and reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.diagnostics.events import EventKind
from postroom.diagnostics.route_words import of_route
from postroom.outgoing.allowances import rates_of
from postroom.outgoing.models import Lane
from postroom.workspaces.plans import limit_of

Words = str | Promise

WHY_NOT_TOLD: dict[str, Words] = {
    "author": gettext_lazy("Not told, because it is their own message."),
    "inactive": gettext_lazy("Not told, because the contact is not active any more."),
    "internal": gettext_lazy("Not told, because the message is internal and they are from outside."),
    "not_subscribed": gettext_lazy("Not told, because they do not follow this kind of message."),
    "already_told": gettext_lazy("Not mailed again, because they were in To or Cc of the mail that came in."),
    "same_address": gettext_lazy("Not mailed, because another contact with the same address was."),
    "no_address": gettext_lazy("Not mailed, because the contact has no address."),
    "own_alias": gettext_lazy("Not mailed, because the address is an alias of this workspace itself."),
}
WHY_TOLD: dict[str, Words] = {
    "follower": gettext_lazy("Told as a follower"),
    "named": gettext_lazy("Told because they were named"),
    "": gettext_lazy("Addressed"),
}
WHY_HELD: dict[str, Words] = {
    "server_unreachable": gettext_lazy("the outgoing server could not be reached"),
    "server_archived": gettext_lazy("its outgoing server is archived"),
    "no_server": gettext_lazy("no outgoing server is set up (RELAY_URL)"),
    "daily_limit": gettext_lazy("the daily limit is used up"),
    "daily_limit_urgent_share": gettext_lazy("the rest of the daily limit is kept for urgent mail"),
    "rate_limit": gettext_lazy("its server takes no more than is set for it in this time"),
    "throttled": gettext_lazy("the server asked for less mail in a short time"),
}
PER: dict[str, Words] = {
    "minute": gettext_lazy("%(count)d a minute"),
    "hour": gettext_lazy("%(count)d an hour"),
    "day": gettext_lazy("%(count)d a day"),
}
OUTCOMES: dict[str, Words] = {
    "accepted": gettext_lazy("The server took it"),
    "deferred": gettext_lazy("The server asked to try again later"),
    "refused": gettext_lazy("The server refused it"),
    "unreachable": gettext_lazy("The server was not reached"),
    "uncertain": gettext_lazy("The server gave no answer: it may have arrived"),
}
EVENTS: dict[str, Words] = {
    EventKind.STAND_IN: gettext_lazy("Another server stands in"),
    EventKind.CAPTURED: gettext_lazy("Captured: capture mode kept it in"),
    EventKind.SCHEDULED: gettext_lazy("Written earlier and scheduled"),
    EventKind.MOVED: gettext_lazy("The time at which its emails leave was changed"),
    EventKind.RETRIED: gettext_lazy("Retried"),
    EventKind.SENT_NOW: gettext_lazy("Send Now was pressed"),
    EventKind.CORRECTED: gettext_lazy("The address was corrected"),
    EventKind.IGNORED: gettext_lazy("The failure was ignored"),
    EventKind.CANCELLED: gettext_lazy("Cancelled"),
    EventKind.BOUNCED: gettext_lazy("A bounce came back"),
    EventKind.DELAYED: gettext_lazy("A report says that it is delayed"),
    EventKind.DELIVERED: gettext_lazy("A report says that it was delivered"),
    EventKind.RELAYED: gettext_lazy("A report says that it was passed on"),
    EventKind.OUTDATED_BOUNCE: gettext_lazy("A bounce of an earlier attempt came back and changed nothing"),
    EventKind.UNVERIFIED_BOUNCE: gettext_lazy("A bounce that nobody vouches for came and changed nothing"),
    EventKind.UNVERIFIED_AUTHOR: gettext_lazy("The author is not verified: it came from outside"),
    EventKind.NOT_FOLLOWING: gettext_lazy(
        "The author was not made a follower: the mail only named a Message-ID, "
        "and nothing of this record was ever sent to them"
    ),
    EventKind.AUTOMATIC_REPLY: gettext_lazy("Posted as a note, because it is an automatic answer"),
}


def why_not_told(reason: str) -> str:
    """The sentence for a reason; an unknown one is shown as it is."""
    return str(WHY_NOT_TOLD.get(reason) or _("Not told (%(reason)s).") % {"reason": reason})


def why_held(reason: str) -> str:
    """Why a lane is held, as the end of a sentence."""
    return str(WHY_HELD.get(reason, reason))


def why_lane_held(lane: Lane) -> str:
    """The same with the limit's figure, if it is one; the lane's workspace and servers should be loaded."""
    if lane.held_because == "rate_limit":
        return _rate(lane)
    limit = limit_of(lane.workspace) if lane.held_because == "daily_limit" else None
    if limit is None:
        return why_held(lane.held_because)
    return _("the daily limit of %(limit)d is used up") % {"limit": limit}


def _rate(lane: Lane) -> str:
    """Which server takes how many in which time."""
    server = lane.via or lane.server
    figures = ", ".join(str(PER[unit]) % {"count": rate} for unit, rate in rates_of(server).items())
    if not figures:
        return why_held(lane.held_because)
    return _("%(server)s takes %(figures)s") % {"server": server.name, "figures": figures}


def of_event(kind: str, detail: Mapping[str, Any], actor: str) -> tuple[str, str]:
    """What happened, and the detail beside it; `actor` is the member's name, empty if nobody acted."""
    if kind == EventKind.NOT_TOLD:
        return why_not_told(str(detail.get("reason", ""))), ""
    if kind == EventKind.ROUTE:
        return of_route(detail)
    what = str(EVENTS.get(kind, kind))
    by = _("by %(name)s") % {"name": actor} if actor else ""
    return what, " · ".join(part for part in (by, _said(detail)) if part)


def _said(detail: Mapping[str, Any]) -> str:
    if "before" in detail and "after" in detail:
        return f"{detail['before']} → {detail['after']}"
    return str(
        detail.get("text") or detail.get("written_at") or detail.get("claimed") or detail.get("why") or ""
    )
