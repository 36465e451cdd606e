"""What is counted in memory, and what the tables hold of it afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from postroom.diagnostics import meters
from postroom.diagnostics.models import Counter, Sample

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_counted() -> Iterator[None]:
    meters.forget()
    yield
    meters.forget()


def _values() -> dict[str, float]:
    return dict(Counter.objects.values_list("series", "value"))


def test_what_is_counted_reaches_the_table_at_the_flush() -> None:
    meters.count("postroom_attempts_total", {"server": "Relay", "outcome": "accepted"}, 3)
    meters.count("postroom_attempts_total", {"server": "Relay", "outcome": "accepted"})
    assert _values() == {}
    meters.flush()
    assert _values() == {'postroom_attempts_total{server="Relay",outcome="accepted"}': 4}


def test_a_second_flush_adds_and_one_without_news_writes_nothing() -> None:
    meters.count("seen_total", {}, 2)
    meters.flush()
    meters.count("seen_total", {}, 5)
    meters.flush()
    assert _values() == {"seen_total": 7}
    with CaptureQueriesContext(
        connection,
    ) as asked:
        meters.flush()
    assert not [query for query in asked if "INSERT" in query["sql"]]


def test_a_histogram_counts_each_bucket_with_all_below_it() -> None:
    for seconds in (0.004, 0.3, 0.3, 10_000):
        meters.observe("wait_seconds", {"stream": "bulk"}, seconds)
    meters.flush()
    values = _values()
    assert values['wait_seconds_bucket{stream="bulk",le="0.005"}'] == 1
    assert values['wait_seconds_bucket{stream="bulk",le="0.25"}'] == 1
    assert values['wait_seconds_bucket{stream="bulk",le="0.5"}'] == 3
    assert values['wait_seconds_bucket{stream="bulk",le="7200"}'] == 3
    assert values['wait_seconds_bucket{stream="bulk",le="+Inf"}'] == 4
    assert values['wait_seconds_count{stream="bulk"}'] == 4
    assert values['wait_seconds_sum{stream="bulk"}'] == pytest.approx(10_000.604)


def test_a_clock_that_went_back_counts_as_no_time_at_all() -> None:
    meters.observe("wait_seconds", {}, -3.0)
    meters.flush()
    assert _values()["wait_seconds_sum"] == 0


def test_a_flush_that_fails_keeps_everything_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    meters.count("seen_total", {}, 2)
    meters.observe("wait_seconds", {}, 1.0)
    meters.chart("sent", "7", 4)

    def fail(*_: object) -> None:
        raise DatabaseError("no database")

    with monkeypatch.context() as broken:
        broken.setattr(meters, "_upsert", fail)
        with pytest.raises(DatabaseError):
            meters.flush()
    meters.count("seen_total", {})
    meters.flush()
    assert _values()["seen_total"] == 3
    assert _values()["wait_seconds_count"] == 1
    assert Sample.objects.get().value == 4


def test_what_threads_count_at_once_is_counted_whole() -> None:
    def work() -> None:
        for _ in range(2000):
            meters.count("seen_total", {"by": "threads"})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meters.flush()
    assert _values() == {'seen_total{by="threads"}': 8000}


def test_two_stations_add_to_the_same_piece_of_time() -> None:
    at = datetime(2026, 11, 21, 10, 5, tzinfo=UTC)
    meters.add_samples([(at, "sent", "1", 2.0)])
    meters.add_samples([(at, "sent", "1", 3.0), (at + timedelta(minutes=5), "sent", "1", 1.0)])
    assert list(Sample.objects.order_by("at").values_list("at", "value")) == [
        (at, 5.0),
        (at + timedelta(minutes=5), 1.0),
    ]


def test_more_series_than_one_statement_holds_are_all_written() -> None:
    for number in range(250):
        meters.count("seen_total", {"number": str(number)})
    meters.flush()
    assert Counter.objects.count() == 250


def test_the_longest_labels_fit_the_column() -> None:
    labels = {"server": '"' * 300, "outcome": "unreachable", "reason": "asked_for_less_again"}
    meters.count("postroom_attempts_total", labels)
    meters.flush()
    assert Counter.objects.count() == 1


@given(st.text())
def test_a_label_is_written_so_that_prometheus_reads_it_back(value: str) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    line = meters.series("seen_total", [("name", value)])
    shown = value[: meters.LONGEST_LABEL].replace("\0", "")
    [family] = text_string_to_metric_families(f"{line} 1\n")
    assert family.samples[0].labels == {"name": shown}
