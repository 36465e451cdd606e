"""What a drain and the front door count while mail passes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models import Alias
from postroom.diagnostics import meters
from postroom.diagnostics.metric_names import label_of
from postroom.diagnostics.models import Counter, Sample
from postroom.flows import measuring, receiving, sending
from postroom.flows.receiving import Arrival, Caller
from postroom.outgoing.models import MailServer
from postroom.outgoing.settling import Ended
from postroom.wire.reply import EnhancedStatus, Outcome, Reply
from tests.flows.arrivals import alias
from tests.flows.test_sending import lane_of, send
from tests.outgoing.queued import queue
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.1)
    meters.forget()
    yield
    meters.forget()


def counted() -> dict[str, float]:
    meters.flush()
    return dict(Counter.objects.values_list("series", "value"))


def test_a_drain_counts_each_outcome_with_its_status(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, ["ben@example.org", "carla@example.com", "code-550@example.org"])
    send(settings, lane_of(emails[0]))
    values = counted()
    server = emails[0].lane.server
    attempts = {name: n for name, n in values.items() if name.startswith("postroom_attempts_total")}
    assert attempts == {
        f'postroom_attempts_total{{server="{server.name}",outcome="accepted",reason=""}}': 2,
        f'postroom_attempts_total{{server="{server.name}",outcome="refused",reason="5.1.1"}}': 1,
    }
    assert values[f'postroom_attempt_seconds_count{{server="{server.name}"}}'] == 3
    charted = set(Sample.objects.values_list("name", "label", "value"))
    assert charted == {
        (name, of, n) for name, n in (("sent", 2), ("failed", 1)) for of in ("", str(server.pk))
    }


def test_the_latency_is_the_time_from_due_to_accepted(people: Cast, settings: Any) -> None:
    [email] = queue(people.workspace, ["ben@example.org"], due_at=timezone.now() - timedelta(minutes=2))
    send(settings, lane_of(email))
    values = counted()
    assert values['postroom_queue_latency_seconds_count{stream="urgent"}'] == 1
    assert values['postroom_queue_latency_seconds_sum{stream="urgent"}'] == pytest.approx(120, abs=15)


def test_a_server_of_a_workspace_is_named_only_where_that_is_asked_for(people: Cast, settings: Any) -> None:
    own = MailServer.objects.create(workspace=people.workspace, name="Own", host="192.0.2.1")
    assert label_of(own) == "workspaces"
    settings.POSTROOM_METRICS_BY_WORKSPACE = True
    assert label_of(own) == f"Own ({own.pk})"


def test_mail_that_comes_in_is_counted_by_what_became_of_it(people: Cast) -> None:
    sales: Alias = alias(people, "sales", "crm.lead")
    to = f"{sales.local_part}@{people.domain.domain}"
    octets = b"From: ben@example.org\r\nMessage-ID: <1@example.org>\r\nSubject: Lamps\r\n\r\nHello\r\n"
    arrival = Arrival(source="smtp", reverse_path="ben@example.org", forward_paths=(to,), octets=octets)
    receiving.receive(arrival)
    receiving.receive(arrival)
    receiving.check_recipient(Caller(source="smtp", peer="192.0.2.9"), "x@elsewhere.example")
    assert counted() == {
        'postroom_inbound_emails_total{verdict="stored"}': 1,
        'postroom_inbound_emails_total{verdict="duplicate"}': 1,
        'postroom_inbound_emails_total{verdict="refused"}': 1,
    }


def reason_of(code: int, status: EnhancedStatus) -> str:
    email: Any = None
    return measuring._reason_of(Ended(email, Outcome.REFUSED, Reply(code, status, "no")))


def status_in(text: str) -> EnhancedStatus:
    status = EnhancedStatus.parse(text)
    assert status is not None
    return status


def test_a_server_cannot_make_up_reasons_without_end() -> None:
    reasons = {
        reason_of(550, EnhancedStatus(5, subject, detail)) for subject in range(10) for detail in range(1000)
    }
    assert 50 < len(reasons) < 120


def test_what_is_registered_and_what_large_providers_say_is_counted_by_its_status() -> None:
    for text in ("5.1.1", "4.2.2", "5.7.26", "5.7.30", "4.7.500", "5.7.708", "5.0.0"):
        assert reason_of(550, status_in(text)) == text
    for text in ("5.10.587", "5.1.11", "5.7.31", "5.0.1"):
        assert reason_of(451, status_in(text)) == "451"
