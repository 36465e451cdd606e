"""What Prometheus reads, who may, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from postroom.conversations.models.records import Stream
from postroom.diagnostics import meters
from postroom.diagnostics.metric_names import METRICS
from postroom.outgoing.models import Allowance, Lane, MailServer
from postroom.outgoing.relays import shared_server
from postroom.schedule.models import ScheduledAction
from postroom.workspaces import plans, stations
from tests.outgoing.queued import queue
from tests.people import Cast, cast

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    cache.clear()
    meters.forget()
    yield
    cache.clear()
    meters.forget()


def read(client: Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels, read as Prometheus reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def names(samples: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> set[str]:
    return {name for name, _ in samples}


def test_the_queue_is_told_by_state_and_stream(client: Client, people: Cast) -> None:
    now = timezone.now()
    queue(people.workspace, ["a@example.org", "b@example.org"], due_at=now - timedelta(minutes=3))
    queue(people.workspace, ["c@example.org"], stream=Stream.BULK)
    Lane.objects.filter(stream=Stream.BULK).update(is_paused=True)
    samples = read(client)
    assert value(samples, "postroom_queue_emails", state="due", stream="urgent") == 2
    assert value(samples, "postroom_queue_emails", state="paused", stream="bulk") == 1
    assert value(samples, "postroom_queue_emails", state="failed", stream="bulk") == 0
    oldest = value(samples, "postroom_queue_oldest_due_seconds", stream="urgent")
    assert oldest == pytest.approx(180, abs=10)


def test_what_was_counted_is_exposed_with_all_its_buckets(client: Client, people: Cast) -> None:
    labels = {"server": 'the "relay"', "outcome": "refused", "reason": "5.1.1"}
    meters.count("postroom_attempts_total", labels, 7)
    meters.observe("postroom_attempt_seconds", {"server": "relay"}, 0.7)
    meters.count("of_another_version_total", {}, 1)
    meters.flush()
    samples = read(client)
    assert value(samples, "postroom_attempts_total", **labels) == 7
    of_relay = {"server": "relay"}
    assert value(samples, "postroom_attempt_seconds_bucket", le="0.5", **of_relay) == 0
    assert value(samples, "postroom_attempt_seconds_bucket", le="1", **of_relay) == 1
    assert value(samples, "postroom_attempt_seconds_bucket", le="+Inf", **of_relay) == 1
    assert value(samples, "postroom_attempt_seconds_count", **of_relay) == 1
    assert "of_another_version_total" not in names(samples)


def test_the_least_quota_is_told_and_by_workspace_only_where_that_is_asked_for(
    client: Client, people: Cast, settings: Any
) -> None:
    neighbour = cast("neighbour").workspace
    start = plans.starts_at(plans.quota_day(timezone.now()))
    for workspace, used in ((people.workspace, 30), (neighbour, 80)):
        workspace.daily_limit, workspace.plan = 100, "paid"
        workspace.save(update_fields=["daily_limit", "plan"])
        Allowance.objects.create(workspace=workspace, unit="quota_day", starts_at=start, used_count=used)
    assert value(read(client), "postroom_quota_remaining") == 20
    cache.clear()
    settings.POSTROOM_METRICS_BY_WORKSPACE = True
    samples = read(client)
    assert value(samples, "postroom_quota_remaining", workspace="demo") == 70
    assert value(samples, "postroom_quota_remaining", workspace="neighbour") == 20


def test_actions_tell_when_they_succeeded_and_for_how_long_they_are_overdue(
    client: Client, people: Cast
) -> None:
    now = timezone.now()
    ScheduledAction.objects.all().delete()
    ScheduledAction.objects.create(
        workspace=people.workspace,
        key="mail_queue",
        interval=60,
        unit="minutes",
        next_call_at=now - timedelta(minutes=5),
        last_success_at=now - timedelta(hours=1),
        failure_count=2,
    )
    samples = read(client)
    success = value(samples, "postroom_action_last_success_timestamp_seconds", action="mail_queue")
    assert success == pytest.approx(now.timestamp() - 3600, abs=1)
    overdue = value(samples, "postroom_action_overdue_seconds", action="mail_queue")
    assert overdue == pytest.approx(300, abs=10)
    assert value(samples, "postroom_actions_failing", action="mail_queue") == 1
    ScheduledAction.objects.update(is_active=False)
    cache.clear()
    assert value(read(client), "postroom_action_overdue_seconds", action="mail_queue") == 0


def test_servers_stations_slow_lanes_and_the_version_are_told(client: Client, people: Cast) -> None:
    relay = shared_server()
    queue(people.workspace, ["a@example.org"])
    Lane.objects.update(slow_told_at=timezone.now())
    station = stations.come("worker")
    own = {"workspace": people.workspace, "host": "192.0.2.1"}
    MailServer.objects.create(name="One", down_until=timezone.now(), **own)
    MailServer.objects.create(name="Two", **own)
    samples = read(client)
    stations.leave(station.name)
    assert value(samples, "postroom_server_up", server=relay.name) == 1
    assert value(samples, "postroom_server_up", server="workspaces") == 0
    assert value(samples, "postroom_stations", role="worker") == 1
    assert value(samples, "postroom_stations", role="web") == 0
    assert value(samples, "postroom_slow_lanes", kind="lane") == 1
    assert value(samples, "postroom_slow_lanes", kind="mailing") == 0
    assert "postroom_build_info" in names(samples)


def test_everything_that_is_exposed_is_documented_with_its_labels(client: Client, people: Cast) -> None:
    meters.count("postroom_inbound_emails_total", {"verdict": "stored"})
    meters.flush()
    families = text_string_to_metric_families(client.get("/metrics").content.decode())
    for family in families:
        metric = METRICS.get(family.name) or METRICS[f"{family.name}_total"]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= set(metric.labels)


def test_open_metrics_are_written_for_who_asks_for_them(client: Client, people: Cast) -> None:
    answer = client.get("/metrics", headers={"Accept": OPEN_METRICS})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.endswith(b"# EOF\n")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.8.0.1"])
def test_this_machine_reads_them_without_a_token(client: Client, people: Cast, address: str) -> None:
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8025", "127.0.0.1:8025", "[::1]:8025", "a.localhost", "0.0.0.0:8025"]
)
def test_this_machine_may_be_named_as_it_names_itself(client: Client, people: Cast, host: str) -> None:
    assert client.get("/metrics", HTTP_HOST=host).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.7"},
        {"REMOTE_ADDR": "192.0.2.7", "HTTP_AUTHORIZATION": "Bearer "},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "rebound.example"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost.rebound.example:8025"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "192.0.2.7:8025"},
    ],
)
def test_everybody_else_is_refused_and_told_what_would_help(
    client: Client, people: Cast, asked: dict[str, Any]
) -> None:
    answer = client.get("/metrics", **asked)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert b"POSTROOM_METRICS_TOKEN" in answer.content
    assert b"postroom_queue" not in answer.content


def test_with_a_token_only_the_token_opens_from_wherever(client: Client, people: Cast, settings: Any) -> None:
    settings.POSTROOM_METRICS_TOKEN = "the token"
    for said, status in (("Bearer the token", 200), ("Bearer another", 403), ("Basic the token", 403)):
        answer = client.get("/metrics", headers={"Authorization": said}, REMOTE_ADDR="192.0.2.7")
        assert answer.status_code == status
    assert client.get("/metrics").status_code == 403


def test_a_scrape_asks_the_same_few_questions_whatever_waits_and_none_within_five_seconds(
    client: Client, people: Cast
) -> None:
    queue(people.workspace, ["a@example.org"])
    with CaptureQueriesContext(connection) as first:
        read(client)
    for number in range(3):
        queue(cast(f"neighbour-{number}").workspace, [f"b{number}@example.org"], stream=Stream.BULK)
    with CaptureQueriesContext(connection) as soon:
        read(client)
    cache.clear()
    with CaptureQueriesContext(connection) as second:
        read(client)
    assert len(soon) == 0
    assert len(second) == len(first) <= 13
