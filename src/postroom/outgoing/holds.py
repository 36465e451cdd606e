"""A server in trouble is its own row and one update of its lanes, never one of its Emails.

Trouble outlives the process: `down_until` and `down_because` say that a server is left alone, `failure_count`
how often in a row, `failing_since` since when. A lane of a server that is not reached gets another to stand
in (`Lane.via`) where one fits; the others are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from postroom.outgoing import stand_ins
from postroom.outgoing.allowances import LIMIT_HOLDS
from postroom.outgoing.models import Lane, MailServer
from postroom.outgoing.relays import SECRETS
from postroom.outgoing.stand_ins import Change, Lanes

NO_SERVER = "no_server"
SERVER_UNREACHABLE = "server_unreachable"
THROTTLED = "throttled"
SERVER_ARCHIVED = "server_archived"
SERVER_TROUBLES = (NO_SERVER, SERVER_UNREACHABLE, THROTTLED, SERVER_ARCHIVED)
_STOOD_IN_FOR = (SERVER_UNREACHABLE, SERVER_ARCHIVED)
MOST_FAILURES = 30_000
_OPEN: Mapping[str, object] = {"held_until": None, "held_because": ""}


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold changed: is it news, when did the trouble begin, and which lanes got another server?"""

    is_news: bool
    failing_since: datetime
    changes: tuple[Change, ...] = ()


def hold_server(server_id: int, until: datetime, because: str, failure: str) -> Held:
    """Leave a server alone until a time; `because` is one of SERVER_TROUBLES, `failure` says it in words.

    Only a server that is not reached, or archived, gets stand-ins: one that asks for less shall get less, not
    the same over another way.
    """
    with transaction.atomic():
        server = MailServer.objects.defer(*SECRETS).select_for_update().get(pk=server_id)
        is_news = server.failure_count == 0 or (because != THROTTLED and server.last_failure != failure)
        server.down_until, server.down_because, server.last_failure = until, because, failure[:1000]
        server.failure_count = min(server.failure_count + 1, MOST_FAILURES)
        server.failing_since = server.failing_since or timezone.now()
        server.save(
            update_fields=["down_until", "down_because", "last_failure", "failure_count", "failing_since"]
        )
        changes = keep_away(server)
    return Held(is_news, server.failing_since, tuple(changes))


def keep_away(server: MailServer) -> Sequence[Change]:
    """Hold, or give to a stand-in, whatever a server that is left alone would carry; return who stands in."""
    changes = _move_away(server, timezone.now()) if server.down_because in _STOOD_IN_FOR else ()
    waits = _open_unless_kept(_carried_by(server.pk))
    waits.update(held_until=server.down_until, held_because=server.down_because)
    return changes


def _move_away(server: MailServer, now: datetime) -> Sequence[Change]:
    """Give every lane that a server cannot carry now to a stand-in, where there is one; return what changed.

    A lane that it carried for another waits for that one again if nobody else stands in.
    """
    lanes = list(_around(server.pk).select_related("workspace", "server", "via").defer(*_secrets()))
    changes = stand_ins.choose(lanes, server, now)
    for change in changes:
        moved = Lane.objects.filter(pk__in=change.lane_ids)
        moved.update(via=change.via_id)
        _open_for_another(moved)
    _wait_for_home(changes)
    return [change for change in changes if change.via_id is not None]


def _wait_for_home(changes: Iterable[Change]) -> None:
    """Lanes that lost their stand-in are held as long as their own server is left alone."""
    for change in changes:
        if change.via_id is None and change.home_down_until is not None:
            lanes = _open_unless_kept(Lane.objects.filter(pk__in=change.lane_ids))
            lanes.update(held_until=change.home_down_until, held_because=SERVER_UNREACHABLE)


def reopen(server_id: int) -> None:
    """The server takes mail again: its lanes come home, and the holds that its trouble caused end.

    `failure_count` stays until `forget`: being let in is not yet handing over.
    """
    MailServer.objects.filter(pk=server_id).update(down_until=None, down_because="")
    _around(server_id).filter(held_because__in=SERVER_TROUBLES).update(**_OPEN)
    _come_home(Lane.objects.filter(server_id=server_id))


def give_back(server_id: int) -> None:
    """The server stands in for nobody any more."""
    _come_home(Lane.objects.filter(via=server_id))


def forget(server_id: int) -> None:
    """A run without trouble: the next trouble begins to count anew."""
    MailServer.objects.filter(pk=server_id).update(failure_count=0, failing_since=None)


def reopen_all() -> None:
    """A new start: every server is worth a try, and is left alone briefly again if it fails."""
    with transaction.atomic():
        troubled = MailServer.objects.filter(Q(failure_count__gt=0) | ~Q(down_until=None))
        troubled.update(down_until=None, down_because="", failure_count=0)
        Lane.objects.filter(held_because__in=SERVER_TROUBLES).update(**_OPEN)
        _come_home(Lane.objects.all())


def reopen_lanes(lane_ids: list[int]) -> None:
    """Somebody asks for these lanes now: try their servers, and end the holds that trouble caused.

    A server that asks for less is not asked sooner: one member's hurry would cost everybody who shares it.
    """
    servers = MailServer.objects.filter(lanes__in=lane_ids).values_list("pk", flat=True)
    down = MailServer.objects.filter(pk__in=list(servers)).exclude(down_until=None)
    down.exclude(down_because=THROTTLED).update(down_until=None)
    held = Lane.objects.filter(pk__in=lane_ids, held_because__in=SERVER_TROUBLES)
    held.exclude(held_because=THROTTLED).update(**_OPEN)


def carriers_of(server_id: int) -> list[MailServer]:
    """The servers that stand in for this one at the moment."""
    lanes = Lane.objects.filter(server_id=server_id).exclude(via=None)
    return list(MailServer.objects.filter(pk__in=lanes.values("via")).defer(*SECRETS))


def homes_to_try(now: datetime) -> list[int]:
    """The servers whose lanes are with a stand-in and that have been left alone long enough."""
    away = Lane.objects.exclude(via=None)
    due = away.filter(Q(server__down_until=None) | Q(server__down_until__lte=now))
    return list(due.values_list("server_id", flat=True).distinct())


def _carried_by(server_id: int) -> Lanes:
    return Lane.objects.filter(Q(via=server_id) | Q(via=None, server=server_id))


def _around(server_id: int) -> Lanes:
    """The lanes that are a server's own, and those it carries."""
    return Lane.objects.filter(Q(via=server_id) | Q(server=server_id))


def _open_unless_kept(lanes: QuerySet[Lane]) -> Lanes:
    """Those that nothing but a server's trouble may hold: limits of a workspace go on holding theirs."""
    return lanes.filter(held_because__in=("", *SERVER_TROUBLES))


def _open_for_another(lanes: QuerySet[Lane]) -> None:
    """Another server carries them from now on, and it has limits of its own: its next claim looks at them."""
    lanes.filter(held_because__in=("", *SERVER_TROUBLES, *LIMIT_HOLDS)).update(**_OPEN)


def _come_home(lanes: QuerySet[Lane]) -> None:
    away = lanes.exclude(via=None)
    _open_for_another(away)
    away.update(via=None)


def _secrets() -> list[str]:
    return [f"{of}__{secret}" for of in ("server", "via") for secret in SECRETS]
