"""The names of all metrics, with their labels and what they mean: the reference and the alerts go by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings

from postroom.outgoing.models import MailServer

ATTEMPTS = "postroom_attempts_total"
ATTEMPT_SECONDS = "postroom_attempt_seconds"
LATENCY_SECONDS = "postroom_queue_latency_seconds"
INBOUND = "postroom_inbound_emails_total"
QUEUE = "postroom_queue_emails"
OLDEST_DUE = "postroom_queue_oldest_due_seconds"
SLOW_LANES = "postroom_slow_lanes"
QUOTA = "postroom_quota_remaining"
SERVER_UP = "postroom_server_up"
ACTION_SUCCESS = "postroom_action_last_success_timestamp_seconds"
ACTION_OVERDUE = "postroom_action_overdue_seconds"
ACTIONS_FAILING = "postroom_actions_failing"
CAMPAIGN = "postroom_campaign_remaining"
STATIONS = "postroom_stations"
BUILD = "postroom_build_info"
OF_WORKSPACES = "workspaces"


class Kind(StrEnum):
    """The types of Prometheus that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: what it is, which labels tell its series apart, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str


_ALL = (
    Metric(
        QUEUE,
        Kind.GAUGE,
        ("state", "stream"),
        "Emails that have not left: due, later (their time has not come), gated (they wait for their "
        "scheduled action), held, paused, sending, and failed ones that nobody has acted on. What waits is "
        "counted up to about 200,000, what failed up to 10,000.",
    ),
    Metric(
        OLDEST_DUE,
        Kind.GAUGE,
        ("stream",),
        "How long the oldest Email that may leave has been waiting for it.",
    ),
    Metric(
        ATTEMPTS,
        Kind.COUNTER,
        ("server", "outcome", "reason"),
        "Attempts to hand a mail over, by outcome (accepted, deferred, refused, unreachable, uncertain); the "
        "reason is the status of the reply (5.1.1; 550 without one that is known), or no_reply.",
    ),
    Metric(ATTEMPT_SECONDS, Kind.HISTOGRAM, ("server",), "How long an attempt took."),
    Metric(
        LATENCY_SECONDS, Kind.HISTOGRAM, ("stream",), "From when an Email was due to when it was accepted."
    ),
    Metric(
        QUOTA,
        Kind.GAUGE,
        ("workspace",),
        "What is left of the daily limit of a workspace that used some of it today. Unless "
        "POSTROOM_METRICS_BY_WORKSPACE is yes, one figure without a label: the least that any has left.",
    ),
    Metric(
        INBOUND,
        Kind.COUNTER,
        ("verdict",),
        "Mail that came in: stored, bounce, duplicate, refused, or deferred because of trouble on our side.",
    ),
    Metric(
        ACTION_SUCCESS,
        Kind.GAUGE,
        ("action",),
        "When a scheduled action last succeeded, in the workspace where that is longest ago.",
    ),
    Metric(
        ACTION_OVERDUE,
        Kind.GAUGE,
        ("action",),
        "For how long a scheduled action that is switched on has been due without being run; 0 if none is.",
    ),
    Metric(
        ACTIONS_FAILING,
        Kind.GAUGE,
        ("action",),
        "In how many workspaces the last run failed, or the action switched itself off after failures.",
    ),
    Metric(CAMPAIGN, Kind.GAUGE, ("campaign",), "Emails of a campaign that are Outgoing, by message id."),
    Metric(
        SLOW_LANES,
        Kind.GAUGE,
        ("kind",),
        "Lanes (lane) and campaigns (mailing) of which people were told that their mail does not get away, "
        "and it still does not.",
    ),
    Metric(
        SERVER_UP,
        Kind.GAUGE,
        ("server",),
        "1 if an outgoing server takes mail, 0 while it is left alone because of trouble.",
    ),
    Metric(STATIONS, Kind.GAUGE, ("role",), "Running parts of the installation: up, web, smtp, worker."),
    Metric(BUILD, Kind.GAUGE, ("version",), "Always 1; the label is the version of Postroom."),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}


def series_names() -> frozenset[str]:
    """The names that a query may use: a histogram has three."""
    parts = ("_bucket", "_sum", "_count")
    names = {name for name, metric in METRICS.items() if metric.kind is not Kind.HISTOGRAM}
    histograms = {name for name, metric in METRICS.items() if metric.kind is Kind.HISTOGRAM}
    return frozenset(names | {f"{name}{part}" for name in histograms for part in parts})


def is_by_workspace() -> bool:
    """May labels name workspaces and their servers?"""
    return bool(getattr(settings, "POSTROOM_METRICS_BY_WORKSPACE", False))


def label_of(server: MailServer) -> str:
    """How metrics name a server. Two workspaces may give theirs the same name, so its id stands with it."""
    if server.is_shared:
        return server.name
    return f"{server.name[:60]} ({server.pk})" if is_by_workspace() else OF_WORKSPACES
