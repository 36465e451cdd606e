"""The queue of the whole installation as its operator sees it: what waits and why, who works, the charts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Max, Q, Sum
from django.db.models.functions import TruncHour
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from postroom.conversations.models.records import Stream
from postroom.diagnostics.meters import PIECE_SECONDS, piece_at
from postroom.diagnostics.models import Sample
from postroom.diagnostics.wording import why_held
from postroom.flows import server_shapes
from postroom.flows.measuring import DEFERRED, FAILED, SENT
from postroom.flows.watching import DEPTH, OLDEST
from postroom.outgoing import depth
from postroom.outgoing.depth import Deep, Standing
from postroom.outgoing.models import FailureKind, MailServer
from postroom.outgoing.relays import SECRETS
from postroom.outgoing.waiting import Waiting, waiting
from postroom.schedule.catalogue import SHIPPED
from postroom.schedule.models import ScheduledAction
from postroom.web.charts import Chart, Line
from postroom.workspaces import stations
from postroom.workspaces.models import Station, Workspace

PIECE = timedelta(seconds=PIECE_SECONDS)
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
REASONS_SHOWN, SERVERS_SHOWN, ACTIONS_SHOWN = 20, 50, 20
COUNTED = (SENT, DEFERRED, FAILED)


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream: how many Emails stand how, and for how long the oldest that may leave has been waiting."""

    name: str
    counts: Mapping[str, int]
    oldest: timedelta

    @property
    def is_late(self) -> bool:
        """Does something wait longer than it should?"""
        return self.oldest > (timedelta(minutes=30) if self.name == Stream.BULK else timedelta(minutes=5))

    @property
    def oldest_words(self) -> str:
        """That time in words, "" if nothing waits."""
        seconds = round(self.oldest.total_seconds())
        if seconds < 120:
            return _("%(count)d s") % {"count": seconds} if seconds else ""
        minutes = seconds // 60
        if minutes < 120:
            return ngettext("%(count)d min", "%(count)d min", minutes) % {"count": minutes}
        hours = minutes // 60
        return ngettext("%(count)d h", "%(count)d h", hours) % {"count": hours}


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """Why Emails of a workspace do not leave, or did not arrive, and how many those are."""

    workspace: Workspace
    words: str
    look: str
    count: int


@dataclass(frozen=True, slots=True)
class ServerLine:
    """A server: its state, what it did in the last hour, what its limits have used."""

    server: MailServer
    state: str
    why: str
    rates: Mapping[str, int]
    uses: Sequence[Any]


@dataclass(frozen=True, slots=True)
class ActionLine:
    """A scheduled action that fails."""

    action: ScheduledAction
    name: str


@dataclass(frozen=True, slots=True)
class Health:
    """Everything on the page."""

    streams: Sequence[StreamRow]
    rates: Mapping[str, int]
    reasons: Sequence[ReasonRow]
    more_reason_count: int
    servers: Sequence[ServerLine]
    stations: Sequence[Station]
    actions: Sequence[ActionLine]
    charts: Sequence[Chart]


def health(now: datetime, *, is_week: bool = False) -> Health:
    """Ask for all of it, in a fixed number of statements."""
    lanes = waiting(now=now)[1]
    deeps = [*depth.depths(lanes, now), *depth.in_hand(), *depth.failures()]
    by_server = _last_hour(now)
    reasons = _reasons(deeps)
    return Health(
        streams=_streams(deeps, lanes, now),
        rates={name: round(sum(each[name] for each in by_server.values())) for name in COUNTED},
        reasons=_reason_rows(reasons[:REASONS_SHOWN]),
        more_reason_count=max(0, len(reasons) - REASONS_SHOWN),
        servers=_servers(by_server, now),
        stations=stations.present(),
        actions=_failing_actions(),
        charts=_charts(now, is_week=is_week),
    )


def _streams(deeps: Iterable[Deep], lanes: Iterable[Waiting], now: datetime) -> list[StreamRow]:
    sums = depth.summed(deeps)
    oldest = depth.oldest_due_seconds(lanes, now)
    return [
        StreamRow(
            name,
            {str(state): sums[(str(state), name)] for state in Standing},
            timedelta(seconds=seconds),
        )
        for name, seconds in oldest.items()
    ]


# What is held, and why.

_Reason = tuple[tuple[int, Standing, str], int]


def _reasons(deeps: Iterable[Deep]) -> list[_Reason]:
    """(workspace, standing, why) and how many, most first."""
    counts: Counter[tuple[int, Standing, str]] = Counter()
    for deep in deeps:
        if deep.workspace_id and deep.standing in (
            Standing.HELD,
            Standing.PAUSED,
            Standing.GATED,
            Standing.FAILED,
        ):
            counts[(deep.workspace_id, deep.standing, deep.because)] += deep.number
    return counts.most_common()


def _reason_rows(reasons: Sequence[_Reason]) -> list[ReasonRow]:
    workspaces = Workspace.objects.in_bulk({workspace_id for (workspace_id, _, _), _ in reasons})
    return [
        ReasonRow(workspaces[workspace_id], *_words_of(standing, because), count)
        for (workspace_id, standing, because), count in reasons
        if workspace_id in workspaces
    ]


def _words_of(standing: Standing, because: str) -> tuple[str, str]:
    """The words, and the look that goes with them."""
    if standing is Standing.HELD:
        return _("Held: %(why)s") % {"why": why_held(because)}, "held"
    if standing is Standing.PAUSED:
        return _("Paused by somebody; it goes on when they say so"), "held"
    if standing is Standing.GATED:
        return _("Waits for its scheduled action, which lets bulk mail go"), "outgoing"
    kinds = {str(kind): kind.label for kind in FailureKind}
    return _("Delivery Failed: %(kind)s") % {"kind": kinds.get(because, because)}, "failed"


# Who works.


def _last_hour(now: datetime) -> dict[str, Counter[str]]:
    rows = Sample.objects.filter(name__in=COUNTED, at__gte=piece_at(now - HOUR)).exclude(label="")
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, name, value in (
        rows.values("label", "name").annotate(total=Sum("value")).values_list("label", "name", "total")
    ):
        found[label][name] = round(value)
    return dict(found)


def _servers(by_server: Mapping[str, Counter[str]], now: datetime) -> list[ServerLine]:
    """Shared relays, servers in trouble and those that sent something lately; those in trouble first."""
    busy = [int(label) for label in by_server if label.isdigit()]
    wanted = Q(workspace=None) | ~Q(down_until=None) | Q(pk__in=busy[:SERVERS_SHOWN])
    found = MailServer.objects.filter(wanted, is_active=True).defer(*SECRETS).select_related("workspace")
    servers = list(
        found.order_by(F("down_until").desc(nulls_last=True), "workspace_id", "pk")[:SERVERS_SHOWN]
    )
    uses = server_shapes.uses_of(servers, now)
    nothing: Counter[str] = Counter()
    return [
        ServerLine(
            server,
            str(server_shapes.state_of(server, now)),
            why_held(server.down_because) if server.down_because else "",
            by_server.get(str(server.pk), nothing),
            uses[server.pk],
        )
        for server in servers
    ]


def _failing_actions() -> list[ActionLine]:
    failing = ScheduledAction.objects.filter(Q(failure_count__gt=0) | ~Q(deactivated_at=None))
    rows = failing.select_related("workspace").order_by("failing_since", "pk")[:ACTIONS_SHOWN]
    return [
        ActionLine(action, SHIPPED[action.key].name if action.key in SHIPPED else action.key)
        for action in rows
    ]


# The charts.


def _charts(now: datetime, *, is_week: bool) -> list[Chart]:
    step = HOUR if is_week else PIECE
    length = WEEK if is_week else DAY
    end = _floor(now, step) + step
    begin = end - length
    values = _samples(begin, is_week=is_week)

    def line(name: str, label: str, words: str, colour: str, dashes: str) -> Line:
        return Line(words, values.get((name, label), {}), colour, dashes)

    count = int(length / step)
    return [
        Chart(
            _("Attempts an hour") if is_week else _("Attempts in five minutes"),
            [
                line(SENT, "", _("Sent"), "ink-2", ""),
                line(DEFERRED, "", _("Deferred"), "delayed", "6 3"),
                line(FAILED, "", _("Failed"), "failed", "2 2"),
            ],
            begin, step, count,
        ),
        Chart(
            _("Waiting emails"), _by_stream(line, DEPTH), begin, step, count, is_peak=True
        ),
        Chart(
            _("Oldest due email"), _by_stream(line, OLDEST), begin, step, count, unit=" s", is_peak=True
        ),
    ]  # fmt: skip


def _by_stream(line: Any, name: str) -> list[Line]:
    return [
        line(name, str(Stream.URGENT), _("Urgent"), "outgoing", ""),
        line(name, str(Stream.BULK), _("Bulk"), "ink-2", "6 3"),
    ]


def _floor(at: datetime, step: timedelta) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0) if step == HOUR else piece_at(at)


def _samples(since: datetime, *, is_week: bool) -> dict[tuple[str, str], dict[datetime, float]]:
    """By name and label, then by when its piece begins. What was counted adds up, what was measured peaks."""
    of_all = Q(name__in=COUNTED, label="") | Q(name__in=(DEPTH, OLDEST))
    rows = Sample.objects.filter(of_all, at__gte=since)
    pieces = rows.annotate(begins=TruncHour("at") if is_week else F("at"))
    sums = pieces.values("name", "label", "begins").annotate(total=Sum("value"), peak=Max("value"))
    found: defaultdict[tuple[str, str], dict[datetime, float]] = defaultdict(dict)
    for row in sums.order_by():
        value = row["total"] if row["name"] in COUNTED else row["peak"]
        found[(row["name"], row["label"])][row["begins"]] = value
    return dict(found)
