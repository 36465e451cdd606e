"""Who is there, and which share of a server's connections is whose."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from hypothesis import given
from hypothesis import strategies as st

from postroom.workspaces import stations
from postroom.workspaces.models import Station

WORKER, UP, WEB = Station.Role.WORKER, Station.Role.UP, Station.Role.WEB


@pytest.fixture(autouse=True)
def nobody_here() -> Iterator[None]:
    yield
    stations._here, stations._place = "", (0, 1)


def another(name: str, role: str = WORKER, *, silent_seconds: float = 0) -> Station:
    return Station.objects.create(
        name=name,
        role=role,
        host="elsewhere.example",
        pid=7,
        is_draining=role in stations.DRAINING,
        seen_at=Now() - timedelta(seconds=silent_seconds),
    )


@pytest.mark.django_db
def test_a_station_that_was_seen_lately_is_present_and_one_that_was_not_is_gone() -> None:
    another("lately", silent_seconds=30)
    another("long ago", silent_seconds=40)
    ours = stations.come(UP)
    assert [one.name for one in stations.present()] == ["lately", ours.name]
    assert stations.present([WEB]) == []


@pytest.mark.django_db
def test_a_beat_keeps_a_station_and_leaving_ends_it_at_once() -> None:
    ours = stations.come(WORKER)
    Station.objects.update(seen_at=Now() - timedelta(seconds=40))
    assert not stations.is_any_draining()
    assert stations.beat(ours.name)
    assert stations.is_any_draining()
    stations.leave(ours.name)
    assert not stations.is_any_draining()


@pytest.mark.django_db
def test_a_beat_of_a_forgotten_station_says_so_and_it_comes_again_under_its_name() -> None:
    ours = stations.come(WORKER)
    Station.objects.all().delete()
    assert not stations.beat(ours.name)
    assert stations.come(WORKER, ours.name).name == ours.name
    assert stations.beat(ours.name)


@pytest.mark.django_db
def test_pages_alone_drain_nothing() -> None:
    stations.come(WEB)
    assert not stations.is_any_draining()


@pytest.mark.django_db
def test_the_place_counts_those_that_drain_in_the_order_in_which_they_came() -> None:
    another("first")
    another("pages", WEB)
    ours = stations.come(UP)
    another("gone", silent_seconds=60)
    another("last")
    assert [stations.place_among(name) for name in ("first", ours.name, "last")] == [(0, 3), (1, 3), (2, 3)]
    assert stations.look_around()
    assert stations.place() == (1, 3)
    assert not stations.look_around()


@pytest.mark.django_db
def test_one_that_could_not_beat_stands_behind_the_others() -> None:
    another("silent", silent_seconds=60)
    another("well")
    assert stations.place_among("silent") == (1, 2)


@pytest.mark.django_db
def test_what_ran_here_before_and_is_gone_is_forgotten_when_the_next_comes() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    before = stations.come(WORKER)
    Station.objects.filter(pk=before.pk).update(pid=ended.pid)
    ours = stations.come(WORKER)
    assert [one.name for one in stations.present()] == [ours.name]


@pytest.mark.django_db
def test_what_runs_beside_us_on_this_machine_stays() -> None:
    beside = stations.come(WORKER)
    Station.objects.filter(pk=beside.pk).update(pid=os.getppid())
    pages = stations.come(WEB)
    ours = stations.come(WORKER)
    assert [one.name for one in stations.present()] == [beside.name, pages.name, ours.name]


@pytest.mark.django_db
def test_containers_of_one_host_name_with_numbers_of_their_own_leave_each_other_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    names = []
    for system in ("aaaaaaaaaaaa", "bbbbbbbbbbbb", ""):
        monkeypatch.setattr(stations, "_system", lambda system=system: system)
        names.append(stations.come(WORKER).name)
    for name in [*names, *names]:
        assert stations.beat(name)
    assert [one.name for one in stations.present()] == names
    Station.objects.filter(name=names[0]).update(seen_at=Now() - timedelta(seconds=36))
    stations.come(WORKER)
    assert not stations.beat(names[0])


@given(st.integers(1, 200), st.integers(0, 10**6), st.integers(1, 12))
def test_the_shares_of_all_stations_are_exactly_the_limit(limit: int, server_id: int, count: int) -> None:
    shares = [stations.share_of(limit, server_id, (rank, count)) for rank in range(count)]
    assert sum(shares) == limit
    assert max(shares) - min(shares) <= 1


def test_servers_with_one_connection_are_spread_over_the_stations() -> None:
    owners = {next(r for r in range(3) if stations.share_of(1, server, (r, 3))) for server in range(3)}
    assert owners == {0, 1, 2}
