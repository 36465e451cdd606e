"""The metrics as Prometheus reads them: what the tables hold, asked in a dozen bounded statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version

from django.db.models import Count, Max, Min, Q
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from postroom.diagnostics import metric_names as names
from postroom.diagnostics.meters import BUCKETS
from postroom.diagnostics.metric_names import METRICS, Kind, is_by_workspace, label_of
from postroom.diagnostics.models import Counter
from postroom.outgoing import depth
from postroom.outgoing.allowances import Unit
from postroom.outgoing.models import Allowance, Lane, MailServer
from postroom.outgoing.waiting import waiting
from postroom.schedule.models import ScheduledAction
from postroom.workspaces import plans, stations

MOST_WORKSPACES = 1000
MOST_SERVERS = 1000
Values = Iterable[tuple[tuple[str, ...], float]]


def written(accept: str = "") -> tuple[bytes, str]:
    """All metrics in the format that is asked for, and its content type."""
    registry = CollectorRegistry()
    registry.register(_Tables())  # it only has to have collect()
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Tables:
    """A collector as prometheus-client wants it."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: so that nothing is asked before it is wanted."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Everything, as of now."""
        now = timezone.now()
        for name, values in _gauges(now):
            yield _family(name, values)
        yield from _stored(Counter.objects.order_by("series").values_list("series", "value"))


def _family(name: str, values: Values) -> Metric:
    known = [*values]
    metric = METRICS[name]
    labels = metric.labels if all(labels for labels, _ in known) else ()
    family = GaugeMetricFamily(name, metric.meaning, labels=labels)
    for label_values, value in known:
        family.add_metric(label_values, value)
    return family


def _gauges(now: datetime) -> Iterator[tuple[str, Values]]:
    yield from _queue(now)
    yield names.QUOTA, _quotas(now)
    yield names.CAMPAIGN, [((str(of),), left) for of, left in depth.mailings_left().values()]
    yield names.SLOW_LANES, _slow_lanes()
    yield names.SERVER_UP, _servers_up()
    yield from _actions(now)
    yield names.STATIONS, _stations()
    yield names.BUILD, [((version("postroom"),), 1)]


def _queue(now: datetime) -> Iterator[tuple[str, Values]]:
    _, lanes = waiting(now=now)
    sums = depth.summed([*depth.depths(lanes, now), *depth.in_hand(), *depth.failures()])
    oldest = depth.oldest_due_seconds(lanes, now)
    states = [(str(state), stream) for state in depth.Standing for stream in oldest]
    yield names.QUEUE, [(state, sums[state]) for state in states]
    yield names.OLDEST_DUE, [((stream,), seconds) for stream, seconds in oldest.items()]


def _quotas(now: datetime) -> Values:
    today = Allowance.objects.filter(unit=Unit.QUOTA_DAY, starts_at=plans.starts_at(plans.quota_day(now)))
    used = today.exclude(workspace=None).order_by("-used_count", "pk").select_related("workspace")
    left = []
    for row in used[:MOST_WORKSPACES]:
        limit = plans.limit_of(row.workspace) if row.workspace else None
        if limit is not None and row.workspace:
            left.append(((row.workspace.slug,), float(max(0, limit - row.used_count))))
    if is_by_workspace():
        return left
    return [((), min(value for _, value in left))] if left else []


def _slow_lanes() -> Values:
    counts = Lane.objects.exclude(slow_told_at=None).aggregate(
        mailing=Count("pk", filter=~Q(message=None)), lane=Count("pk", filter=Q(message=None))
    )
    return [((kind,), counts[kind]) for kind in ("lane", "mailing")]


def _servers_up() -> Values:
    """Servers that share a label are up if all of them are."""
    active = MailServer.objects.filter(is_active=True).only("pk", "name", "workspace_id", "down_until")
    up: dict[str, bool] = {}
    for server in active.order_by("workspace_id", "pk")[:MOST_SERVERS]:
        label = label_of(server)
        up[label] = up.get(label, True) and server.down_until is None
    return [((label,), float(is_up)) for label, is_up in up.items()]


def _actions(now: datetime) -> Iterator[tuple[str, Values]]:
    is_waiting = Q(is_active=True, lease="")
    rows = ScheduledAction.objects.values("key").annotate(
        succeeded_at=Min("last_success_at", filter=Q(is_active=True)),
        next_at=Min("next_call_at", filter=is_waiting),
        failing=Count("pk", filter=Q(failure_count__gt=0) | ~Q(deactivated_at=None)),
        any_at=Max("next_call_at"),
    )
    known = list(rows.order_by("key"))
    succeeded = [row for row in known if row["succeeded_at"]]
    yield names.ACTION_SUCCESS, [((row["key"],), row["succeeded_at"].timestamp()) for row in succeeded]
    yield names.ACTION_OVERDUE, [((row["key"],), _overdue(row["next_at"], now)) for row in known]
    yield names.ACTIONS_FAILING, [((row["key"],), row["failing"]) for row in known]


def _overdue(next_at: datetime | None, now: datetime) -> float:
    return max(0.0, (now - next_at).total_seconds()) if next_at else 0.0


def _stations() -> Values:
    counts: defaultdict[str, int] = defaultdict(int)
    for station in stations.present():
        counts[str(station.role)] += 1
    return [((role,), counts[role]) for role in ("up", "web", "smtp", "worker")]


# What was counted: its rows are lines of the format already, and only want their heads.


def _stored(rows: Iterable[tuple[str, float]]) -> Iterator[Metric]:
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for series, value in rows:
        name = _metric_of(series)
        if name:
            lines[name].append(f"{series} {value:.17g}")
    for name, found in lines.items():
        metric = METRICS[name]
        complete = _with_empty_buckets(found) if metric.kind is Kind.HISTOGRAM else found
        head = f"# HELP {name} {metric.meaning}\n# TYPE {name} {metric.kind}\n"
        yield from text_string_to_metric_families(head + "\n".join(complete) + "\n")


def _metric_of(series: str) -> str:
    name = series.partition("{")[0]
    for part in ("", "_bucket", "_sum", "_count"):
        if name.endswith(part) and name.removesuffix(part) in METRICS:
            return name.removesuffix(part)
    return ""  # counted by another version


def _with_empty_buckets(lines: Iterable[str]) -> list[str]:
    """Buckets into which nothing has fallen yet have no row; whoever reads a histogram wants them all."""
    buckets: defaultdict[str, dict[str, str]] = defaultdict(dict)
    others = []
    for line in lines:
        series, _, value = line.rpartition(" ")
        head, bound, rest = series.rpartition('le="')
        if bound:
            buckets[head][rest.removesuffix('"}')] = value
        else:
            others.append(line)
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    return [*_all_buckets(buckets, bounds), *others]


def _all_buckets(buckets: Mapping[str, Mapping[str, str]], bounds: list[str]) -> Iterator[str]:
    for head, known in buckets.items():
        for bound in bounds:
            yield f'{head}le="{bound}"}} {known.get(bound, "0")}'
