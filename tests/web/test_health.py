"""The operator's page of how the queue is."""

from __future__ import annotations

from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.diagnostics.meters import piece_at
from postroom.diagnostics.models import Sample
from postroom.flows.watching import DEPTH
from postroom.outgoing.models import FailureKind, Lane, MailServer
from postroom.outgoing.relays import shared_server
from postroom.schedule.models import ScheduledAction
from postroom.web.health_shown import health
from postroom.workspaces import stations
from postroom.workspaces.models import Member, Role
from tests.outgoing.queued import queue
from tests.people import Cast, cast
from tests.web.conftest import Browse

HOUR = timedelta(hours=1)


@pytest.fixture
def as_operator(people: Cast, browse: Browse) -> Client:
    """Olga's browser; she operates the installation."""
    Member.objects.filter(pk=people.olga.pk).update(role=Role.OPERATOR)
    return browse(people.olga)


def page(client: Client, query: str = "") -> str:
    answer = client.get(reverse("operator_health") + query)
    assert answer.status_code == 200
    return " ".join(unescape(answer.content.decode()).split())


def test_only_operators_see_it(people: Cast, as_ana: Client) -> None:
    assert as_ana.get(reverse("operator_health")).status_code == 404


def test_an_empty_queue_says_so_in_words(as_operator: Client) -> None:
    text = page(as_operator)
    assert "Nothing is held, and no failure waits for anybody." in text
    assert "No part of Postroom has been seen in the last half minute" in text
    assert text.count('class="chart"') == 3


def test_what_does_not_leave_is_told_with_its_workspace_and_why(people: Cast, as_operator: Client) -> None:
    neighbour = cast("neighbour").workspace
    queue(people.workspace, ["a@example.org", "b@example.org"])
    Lane.objects.update(held_until=timezone.now() + HOUR, held_because="throttled")
    queue(neighbour, ["c@example.org"], state="failed", failure_kind=FailureKind.EXPIRED)
    text = page(as_operator)
    assert "Held: the server asked for less mail in a short time" in text
    assert "Delivery Failed: Tried too long" in text
    assert reverse("operator_workspace", args=["neighbour"]) in text


def test_only_the_twenty_largest_reasons_are_listed(people: Cast) -> None:
    for number in range(21):
        neighbour = cast(f"neighbour-{number}").workspace
        queue(neighbour, [f"a{number}@example.org"], state="failed", failure_kind=FailureKind.REFUSED)
    queue(people.workspace, ["x@example.org", "y@example.org"])
    Lane.objects.filter(workspace=people.workspace).update(is_paused=True)
    shown = health(timezone.now())
    assert len(shown.reasons) == 20
    assert shown.more_reason_count == 2
    assert (shown.reasons[0].workspace, shown.reasons[0].count) == (people.workspace, 2)


def test_late_mail_is_marked_by_a_sign_and_its_age(people: Cast, as_operator: Client) -> None:
    queue(people.workspace, ["a@example.org"], due_at=timezone.now() - timedelta(minutes=17))
    urgent = next(row for row in health(timezone.now()).streams if row.name == "urgent")
    assert urgent.is_late
    assert urgent.oldest_words == "17 min"
    assert '<span class="state" data-look="delayed"><svg' in page(as_operator)


def test_a_server_in_trouble_stands_first_with_its_last_answer(people: Cast, as_operator: Client) -> None:
    shared_server()
    now = timezone.now()
    MailServer.objects.create(
        workspace=people.workspace,
        name="Own",
        host="192.0.2.1",
        down_until=now + HOUR,
        down_because="server_unreachable",
        failing_since=now - HOUR,
        last_failure="No route to <host>",
    )
    shown = health(now)
    assert [row.state for row in shown.servers] == ["left_alone", "in_use"]
    text = page(as_operator)
    assert "Left alone because" in text
    assert "No route to <host>" in text


def test_each_server_tells_what_it_did_in_the_last_hour(people: Cast) -> None:
    relay, now = shared_server(), timezone.now()
    for name, value in (("sent", 40), ("failed", 2)):
        for label in ("", str(relay.pk)):
            Sample.objects.create(at=piece_at(now), name=name, label=label, value=value)
    Sample.objects.create(at=piece_at(now - 2 * HOUR), name="sent", label=str(relay.pk), value=9)
    shown = health(now)
    assert shown.rates == {"sent": 40, "deferred": 0, "failed": 2}
    [row] = shown.servers
    assert (row.rates["sent"], row.rates["failed"]) == (40, 2)


def test_a_failing_action_is_named_with_its_error(people: Cast, as_operator: Client) -> None:
    ScheduledAction.objects.filter(workspace=people.workspace, key="dns_check").delete()
    ScheduledAction.objects.create(
        workspace=people.workspace,
        key="dns_check",
        interval=60,
        unit="minutes",
        next_call_at=timezone.now(),
        failure_count=3,
        failing_since=timezone.now() - HOUR,
        last_error="No resolver answered",
    )
    text = page(as_operator)
    assert "DNS check" in text
    assert "failed 3 times in a row" in text
    assert "No resolver answered" in text


def test_the_stations_that_run_are_listed(as_operator: Client) -> None:
    station = stations.come("worker")
    text = page(as_operator)
    stations.leave(station.name)
    assert f"Engine · {station.host}" in text
    assert f"process {station.pid}" in text


def test_the_charts_cover_a_day_or_a_week(people: Cast, as_operator: Client) -> None:
    now = timezone.now()
    for age, value in ((timedelta(minutes=20), 7), (timedelta(hours=30), 100)):
        Sample.objects.create(at=piece_at(now - age), name="sent", value=value)
        Sample.objects.create(at=piece_at(now - age), name="depth", label="bulk", value=value)
    day, week = health(now).charts, health(now, is_week=True).charts
    assert [len(each[0].times) for each in (day, week)] == [288, 168]
    assert [sum(each[0].lines[0].values.values()) for each in (day, week)] == [7, 107]
    assert [each[1].most for each in (day, week)] == [7, 100]
    assert all(at in each[0].times for each in (day, week) for at in each[0].lines[0].values)
    assert "Attempts an hour" in page(as_operator, "?range=week")


def test_what_is_counted_is_named(people: Cast, as_operator: Client) -> None:
    """Tries and emails are two things; a chart of what is measured says when that was last done."""
    shown = page(as_operator)
    assert "tries in the last hour: 0 sent, 0 deferred, 0 failed" in shown
    assert "the table counts emails, and what failed until somebody acts on it" in shown
    assert shown.count("not counted yet") == 2
    at = timezone.now() - timedelta(minutes=10)
    Sample.objects.create(name=DEPTH, label="urgent", at=piece_at(at), value=7)
    assert page(as_operator).count("newest piece begins") == 1


def test_it_refreshes_by_itself_until_somebody_stops_it(as_operator: Client) -> None:
    assert 'hx-trigger="every 15s"' in page(as_operator)
    assert "hx-trigger" not in page(as_operator, "?still=1")


def test_the_page_asks_the_same_questions_whatever_waits(people: Cast, as_operator: Client) -> None:
    shared_server()
    queue(people.workspace, ["x@example.org"])
    queue(people.workspace, ["a@example.org"], state="failed", failure_kind=FailureKind.REFUSED)
    page(as_operator)
    with CaptureQueriesContext(connection) as first:
        health(timezone.now())
    for number in range(4):
        neighbour = cast(f"neighbour-{number}").workspace
        queue(neighbour, [f"b{number}@example.org"], stream=Stream.BULK)
        queue(neighbour, [f"c{number}@example.org"], state="failed", failure_kind=FailureKind.REFUSED)
    with CaptureQueriesContext(connection) as second:
        health(timezone.now())
    assert len(second) == len(first) <= 13
