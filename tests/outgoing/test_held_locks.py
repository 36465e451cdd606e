"""A session that keeps a lock which others need: they wait for a while, say so, and go on by themselves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import InternalError, OperationalError, connection, connections, transaction

from postroom.engine import embedded
from postroom.outgoing import admitting, allowances, claiming
from postroom.outgoing.dialects import database_time
from postroom.outgoing.relays import shared_server
from postroom.workspaces import plans
from tests.outgoing.limited import limit
from tests.outgoing.queued import queue
from tests.people import Cast, cast

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "postgresql" not in settings.DATABASES["default"]["ENGINE"], reason="SQLite has one writer at a time"
    ),
]


@contextlib.contextmanager
def frozen_with(people: Cast) -> Iterator[threading.Event]:
    """Somebody who has locked what the daily limit counts, and does nothing more until the event is set."""
    account = allowances.quota_account(people.workspace.pk, plans.quota_day(database_time()))
    is_locked, goes_on = threading.Event(), threading.Event()

    def freeze() -> None:
        try:
            with contextlib.suppress(OperationalError, InternalError), transaction.atomic():
                allowances.lock([account])
                is_locked.set()
                goes_on.wait(60)
                connection.ensure_connection()
        finally:
            connections.close_all()

    frozen = threading.Thread(target=freeze)
    frozen.start()
    assert is_locked.wait(10)
    try:
        yield goes_on
    finally:
        goes_on.set()
        frozen.join(10)


def test_a_claim_waits_some_seconds_for_a_lock_says_so_once_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    people = cast()
    monkeypatch.setattr(admitting, "LONGEST_LOCK_SECONDS", 1)
    limit(people.workspace, 100)
    queue(people.workspace, ["a@example.org"])
    server = shared_server()
    with frozen_with(people) as goes_on:
        began_at, asked_at = time.monotonic(), database_time()
        got = claiming.claim(server.pk, "mine")
        assert 0.9 < time.monotonic() - began_at < 10
        assert got.emails == ()
        assert got.next_at is not None
        assert got.next_at > asked_at
        assert got.next_at < database_time() + timedelta(seconds=6)
        [line] = [each.getMessage() for each in caplog.records if each.name == "postroom.sending"]
        assert f"server {server.pk}" in line
        goes_on.set()
    assert [email.addr_spec for email in claiming.claim(server.pk, "mine").emails] == ["a@example.org"]


def test_the_database_frees_what_a_frozen_transaction_has_locked(caplog: pytest.LogCaptureFixture) -> None:
    people = cast()
    limit(people.workspace, 100)
    queue(people.workspace, ["a@example.org"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout')")
        assert cursor.fetchone() == ("30s",)
    with _limited_to("1s"), frozen_with(people):
        got = claiming.claim(shared_server().pk, "mine")
    assert [email.addr_spec for email in got.emails] == ["a@example.org"]


@contextlib.contextmanager
def _limited_to(seconds: str) -> Iterator[None]:
    """New sessions of this database start with this limit."""
    found = connection.settings_dict["OPTIONS"]
    before = found["options"]
    found["options"] = f"{before} -c idle_in_transaction_session_timeout={seconds}"
    try:
        yield
    finally:
        found["options"] = before


def _freeze_in_a_transaction(people: Cast) -> None:
    with transaction.atomic():
        allowances.lock([allowances.quota_account(people.workspace.pk, plans.quota_day(database_time()))])
        time.sleep(1)
        database_time()


def test_one_that_comes_back_finds_its_transaction_undone_and_says_so_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    people = cast()
    queue(people.workspace, ["a@example.org"])
    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '200ms'")
    with pytest.raises(InternalError) as cut:
        _freeze_in_a_transaction(people)
    embedded._say(cut.value, "Lane server:1 failed")
    [line] = [each for each in caplog.records if each.name == "postroom.engine"]
    assert (line.levelname, line.exc_info) == ("WARNING", None)
    assert allowances.used_today(people.workspace.pk, database_time()) == 0  # on a new connection
