"""Which mail Send Now cannot hurry, and the words that say why and what helps."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.diagnostics.wording import why_lane_held
from postroom.outgoing import allowances, holds
from postroom.outgoing.dialects import database_time
from postroom.outgoing.expecting import is_limited
from postroom.outgoing.models import Lane
from postroom.outgoing.queue import EmailQuerySet
from postroom.outgoing.relays import SECRETS
from postroom.outgoing.turns import awaits_turn
from postroom.outgoing.waits import waits_of


def kept(emails: EmailQuerySet) -> dict[int, str]:
    """Those of these Emails that no hurry helps now, by id, with why and what helps.

    A pause or a limit keeps them in, a server that asked for less mail, or a campaign before them.
    """
    why = {lane.pk: why_kept(lane) for lane in _kept_lanes(emails)}
    rows = emails.filter(lane__in=why).order_by("pk").values_list("pk", "lane_id")
    return {pk: why[lane_id] for pk, lane_id in rows}


def kept_by_what_is_off(emails: EmailQuerySet) -> Counter[str]:
    """How many of these Emails wait for a scheduled action that is switched off, by its name."""
    gated = emails.filter(lane__in=Lane.objects.exclude(released_until=None)).select_related("lane")
    needed = ("state", "lease", "due_at", "lane__workspace_id", "lane__message_id", "lane__released_until")
    waits = waits_of(gated.only(*needed), database_time())
    return Counter(wait.action_name for wait in waits.values() if wait.is_off)


def _kept_lanes(emails: EmailQuerySet) -> list[Lane]:
    secrets = [f"{of}__{secret}" for of in ("server", "via") for secret in SECRETS]
    lanes = Lane.objects.filter(pk__in=emails.order_by().values("lane_id")).defer(*secrets)
    now = database_time()
    rows = lanes.select_related("workspace", "server", "via").order_by("pk")
    return [lane for lane in rows if _is_kept(lane, now)]


def _is_kept(lane: Lane, now: datetime) -> bool:
    is_slow = _slowed_until(lane, now) is not None
    return lane.is_paused or is_limited(lane, now) or is_slow or awaits_turn(lane)


def _slowed_until(lane: Lane, now: datetime) -> datetime | None:
    """When the server that asked for less is asked again; None if it did not, or if that is over."""
    server = lane.via or lane.server
    if server.down_because != holds.THROTTLED or server.down_until is None or server.down_until <= now:
        return None
    return server.down_until


def why_kept(lane: Lane) -> str:
    """Why nothing of a lane that `kept` passes over can be sent now, and what to do."""
    if not lane.is_paused and awaits_turn(lane):
        return _(
            "Send Now does not help: campaigns leave one after another, the one that was written first goes "
            "first. To let this one go sooner, cancel the ones before it."
        )
    if not lane.is_paused and (until := _slowed_until(lane, database_time())):
        words = _(
            "Send Now does not help: the server asked for less mail, and is asked again at %(time)s. It "
            "leaves by itself then, in its turn."
        )
        return words % {"time": f"{timezone.localtime(until):%Y-%m-%d %H:%M}"}
    if lane.is_paused or lane.held_until is None:
        return _("Send Now does not help: its lane is paused. Resume it first.")
    at = f"{timezone.localtime(lane.held_until):%Y-%m-%d %H:%M}"
    if lane.held_because in allowances.DAILY_HOLDS:
        words = _(
            "Send Now does not help: %(reason)s until %(time)s. It leaves by itself then, in its turn. "
            "To send sooner, ask for a higher limit under Plan and limit, or send over a server of your own."
        )
    else:
        words = _(
            "Send Now does not help: %(reason)s, and more only from %(time)s on. It leaves by itself, "
            "in its turn. An administrator sets the figures under Outgoing Servers."
        )
    return words % {"reason": why_lane_held(lane), "time": at}
