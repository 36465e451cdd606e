"""Which server stands in for one that is not reached."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Q, QuerySet

from postroom.outgoing import relays
from postroom.outgoing.models import Lane, MailServer
from postroom.workspaces.models import MailDomain, Workspace

Lanes = QuerySet[Lane]


@dataclass(frozen=True, slots=True)
class Change:
    """Lanes of one workspace and one home server that another carries from now on (None: none does)."""

    workspace: Workspace
    home: MailServer
    via: MailServer | None
    lane_ids: tuple[int, ...]

    @property
    def via_id(self) -> int | None:
        """The stand-in's number."""
        return self.via.pk if self.via else None

    @property
    def home_down_until(self) -> datetime | None:
        """How long their own server is left alone."""
        return self.home.down_until


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a stand-in is needed for: lanes of this home server, of a workspace with these mail domains.

    `has_foreign_from`: a From on another domain was written there, whatever the home's filter says today.
    """

    home: MailServer
    own_domains: frozenset[str]
    has_foreign_from: bool = False

    @property
    def is_of_own_domains(self) -> bool:
        """Is every From on a domain of the workspace? A server without filter keeps no other."""
        return not self.has_foreign_from and relays.filter_of(self.home).all_domains <= self.own_domains


def fits(candidate: MailServer, waiting: Waiting, now: datetime) -> bool:
    """May this server carry what was written for that one?

    It has to be in use over SMTP, reachable as far as we know, nobody's personal one, and must let us send
    from every address that the other does, because the From of what waits is written already. One that names
    no addresses of this workspace, and so would have changed a foreign From, gets only Froms of our domains.
    What was to be encrypted, and to nobody but a server with a proven name, stays so.
    """
    home = waiting.home
    if candidate.transport != MailServer.Transport.SMTP:
        return False
    is_there = candidate.is_active and candidate.owner_id is None and candidate.pk != home.pk
    is_set = not candidate.is_shared or bool(settings.POSTROOM_RELAY_URL)
    is_up = candidate.down_until is None or candidate.down_until <= now
    if not (is_there and is_set and is_up and relays.protection_of(candidate) >= relays.protection_of(home)):
        return False
    named = relays.filter_of(candidate)
    is_for_own_only = named.is_any or candidate.is_shared
    return named.covers(relays.filter_of(home)) and (waiting.is_of_own_domains or not is_for_own_only)


def choose(lanes: Iterable[Lane], down: MailServer, now: datetime) -> list[Change]:
    """Find a stand-in for each lane whose server, or whose stand-in, is `down`; return only what changes."""
    groups: dict[tuple[int, int, bool], list[Lane]] = defaultdict(list)
    for lane in lanes:
        groups[(lane.workspace_id, lane.server_id, lane.has_foreign_from)].append(lane)
    workspace_ids = {workspace_id for workspace_id, *_ in groups}
    candidates, domains = _candidates(workspace_ids), _own_domains(workspace_ids)
    changes = []
    for group in groups.values():
        home = down if group[0].server_id == down.pk else group[0].server
        waiting = Waiting(home, frozenset(domains[group[0].workspace_id]), group[0].has_foreign_from)
        # A personal server's owner chose it for what they write: nobody else's way out is theirs to use.
        # And the shared relay carries what opens logins: no server that a workspace controls may see that.
        is_alone = home.owner_id is not None or home.is_shared
        fitting = [] if is_alone else [one for one in _of(group[0], candidates) if fits(one, waiting, now)]
        changes += _changes(group, home, [one for one in fitting if one.pk != down.pk])
    return changes


def _changes(group: Sequence[Lane], home: MailServer, fitting: Sequence[MailServer]) -> list[Change]:
    """Lanes whose stand-in still fits keep it; the others get the first that does."""
    first, still = (fitting[0] if fitting else None), {one.pk for one in fitting}
    moved = tuple(
        lane.pk for lane in group if lane.via_id not in still and lane.via_id != (first.pk if first else None)
    )
    return [Change(group[0].workspace, home, first, moved)] if moved else []


def _candidates(workspace_ids: set[int]) -> list[MailServer]:
    """Servers of these workspaces in the order in which they are asked, the shared relay last."""
    rows = MailServer.objects.filter(Q(workspace__in=workspace_ids) | Q(workspace=None), is_active=True)
    ordered = rows.defer(*relays.SECRETS).order_by("priority", "name", "pk")
    return sorted(ordered, key=lambda server: server.is_shared)


def _own_domains(workspace_ids: set[int]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {workspace_id: set() for workspace_id in workspace_ids}
    rows = MailDomain.objects.filter(workspace__in=workspace_ids)
    for workspace_id, domain in rows.values_list("workspace_id", "domain"):
        found[workspace_id].add(domain)
    return found


def _of(lane: Lane, candidates: Iterable[MailServer]) -> list[MailServer]:
    return [one for one in candidates if one.workspace_id in (lane.workspace_id, None)]
