"""Spans where they are asked for, and nothing at all where they are not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postroom.diagnostics import telemetry
from postroom.flows import acting, receiving, sending
from postroom.flows.posting import Draft, post
from postroom.schedule.catalogue import DNS_CHECK
from postroom.schedule.models import ScheduledAction
from tests.flows.arrivals import alias, brought, letter
from tests.flows.test_sending import lane_of, send
from tests.outgoing.queued import queue
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


@pytest.fixture
def spans() -> Iterator[Any]:
    """What was handed over, by `spans.of(name)`."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    telemetry.start_with(SimpleSpanProcessor(exporter))
    yield SimpleNamespace(of=lambda name: [s for s in exporter.get_finished_spans() if s.name == name])
    telemetry.stop()


def test_what_is_posted_has_a_span_with_its_message_id(people: Cast, spans: Any) -> None:
    draft = Draft(
        workspace=people.workspace,
        record=people.record,
        author=people.ana_contact,
        member=people.ana,
        body="<p>Hello</p>",
    )
    message = post(draft)
    [span] = spans.of("post")
    assert dict(span.attributes) == {
        "postroom.workspace": people.workspace.pk,
        "postroom.message": message.pk,
        "messaging.message.id": message.message_id,
    }


def test_a_drain_has_a_span_with_those_of_its_groups_inside(
    people: Cast, settings: Any, spans: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.1)
    emails = queue(people.workspace, ["ben@example.org", "code-550@example.org"])
    send(settings, lane_of(emails[0]))
    [drain] = spans.of("drain")
    groups = spans.of("settle")
    named = {email_id for group in groups for email_id in group.attributes["postroom.emails"]}
    assert named == {email.pk for email in emails}
    assert {pk for group in groups for pk in group.attributes["postroom.messages"]} == {emails[0].message_id}
    assert drain.attributes["postroom.server"] == emails[0].lane.server_id
    for group in groups:
        assert group.attributes["postroom.lease"] == drain.attributes["postroom.lease"]
        assert group.parent.span_id == drain.context.span_id


def test_what_comes_in_has_a_span_with_the_message_id_of_its_sender(people: Cast, spans: Any) -> None:
    alias(people, "sales", "crm.lead")
    receiving.receive(brought(letter()))
    [span] = spans.of("receive")
    assert span.attributes["messaging.message.id"] == "<first@example.org>"
    assert span.attributes["postroom.source"] == "smtp"


def test_a_scheduled_action_has_a_span(people: Cast, spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "WORK", {DNS_CHECK: lambda run: iter(())})
    from postroom.schedule.clock import clock

    ScheduledAction.objects.filter(workspace=people.workspace, key=DNS_CHECK).update(next_call_at=clock())
    assert acting.run_due() == 1
    [span] = spans.of("action")
    assert span.attributes["postroom.action"] == "dns_check"


def test_without_it_nothing_is_described(people: Cast) -> None:
    def describe() -> dict[str, Any]:
        raise AssertionError("nobody asked")

    with telemetry.span("post", describe):
        pass


@pytest.mark.parametrize(
    ("environ", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "mail"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://192.0.2.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_only_the_variables_of_opentelemetry_ask_for_it(environ: dict[str, str], is_wanted: bool) -> None:
    assert telemetry.is_wanted(environ) is is_wanted


def test_nothing_of_it_is_imported_where_it_is_not_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys, django; django.setup();"
        "from postroom.diagnostics import telemetry; from postroom.flows import sending, posting, receiving;"
        "assert telemetry.start() is False;"
        "print([n for n in sys.modules if n.split('.')[0] in ('opentelemetry', 'prometheus_client')])"
    )
    environ = {
        "POSTROOM_DATA": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "postroom_server.settings",
        "PATH": "/usr/bin:/bin",
    }
    told = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


def test_a_collector_that_does_not_answer_keeps_nobody_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import threading
    import time

    from opentelemetry.sdk.trace import SpanProcessor

    is_over = threading.Event()

    class Stuck(SpanProcessor):
        def shutdown(self) -> None:
            is_over.wait(20)

    monkeypatch.setattr(telemetry, "STOP_SECONDS", 0.05)
    telemetry.start_with(Stuck())
    began_at = time.monotonic()
    telemetry.stop()
    assert time.monotonic() - began_at < 10
    is_over.set()


def test_where_the_extra_is_missing_the_log_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert telemetry.start() is False
    assert "uv sync --extra otel" in caplog.text
