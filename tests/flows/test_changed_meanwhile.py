"""What changes while a drain has Emails in hand holds for all that has not begun."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.flows import capture, draining, sending, writing_back
from postroom.outgoing import claiming, recovering, relays
from postroom.outgoing.models import Email, MailServer
from postroom.workspaces import installation
from tests.flows.test_trouble import run
from tests.outgoing.queued import queue, tally_adds_up
from tests.people import Cast, cast
from tests.smtp.scripted import ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)
SECONDS = 0.03


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    installation.recognise()
    return cast()


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.1)
    monkeypatch.setattr(draining, "LOOK_SECONDS", 0.1)


class Slow(ScriptedRelay):
    """Takes its time for every recipient, and notes when it was asked for whom."""

    def __init__(self) -> None:
        super().__init__(offers=())
        self.asked_at: list[float] = []
        self.answers = {"RCPT": self._answer}

    def _answer(self, line: bytes) -> bytes:
        self.asked_at.append(time.monotonic())
        time.sleep(SECONDS)
        return b"250 ok\r\n"


async def changed_after_some(script: Slow, lane: str, change: Callable[[], Any]) -> float:
    """Drain, change something once three are asked for, and return when that was stored."""
    draining_it = asyncio.create_task(sending.drain(lane))
    while len(script.asked_at) < 3:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(change)
    stored_at = time.monotonic()
    await draining_it
    return stored_at


def test_capture_mode_keeps_in_what_a_drain_has_in_hand(people: Cast, settings: Any) -> None:
    emails = queue(people.workspace, [f"p{n}@example.org" for n in range(90)])
    lane = emails[0].lane.server.engine_lane

    async def story() -> tuple[Slow, float]:
        script = Slow()
        async with script.serve():
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{script.port}"
            at = await changed_after_some(script, lane, lambda: capture.switch_on(None, by=people.olga))
            await sending.drain(lane)
        return script, at

    script, at = run(story())
    assert sum(asked_at > at for asked_at in script.asked_at) < 30
    states = Counter(Email.objects.values_list("state", "lease", "cancelled_because"))
    assert states["sent", "", ""] == len(script.asked_at)
    assert states["cancelled", "", "captured"] == 90 - len(script.asked_at)
    assert tally_adds_up(emails[0].message)


def test_a_server_that_moved_gets_what_has_not_begun_at_its_new_place(people: Cast) -> None:
    async def story() -> tuple[Slow, Slow, float]:
        old, new = Slow(), Slow()
        async with old.serve(), new.serve():
            server = await asyncio.to_thread(own_server, people, old.port)
            moved = MailServer.objects.filter(pk=server.pk)
            at = await changed_after_some(old, server.engine_lane, lambda: moved.update(port=new.port))
            await sending.drain(server.engine_lane)
        return old, new, at

    old, new, at = run(story())
    assert sum(asked_at > at for asked_at in old.asked_at) < 30
    assert len(old.asked_at) + len(new.asked_at) == 90
    assert Email.objects.filter(state="sent", lease="").count() == 90


def own_server(people: Cast, port: int) -> MailServer:
    server = MailServer.objects.create(
        workspace=people.workspace, name="own", host="127.0.0.1", port=port, encryption="none"
    )
    queue(people.workspace, [f"p{n}@example.org" for n in range(90)])
    Email.objects.update(lane=relays.lane_of(people.workspace, "urgent", server))
    return server


def recovered_elsewhere(settings: Any, folder: Path) -> int:
    settings.POSTROOM_DATA = folder
    found = recovering.recover(is_alone=False, now=timezone.now(), policy_of=writing_back.policy_of)
    return sum(settlement.count for settlement in found)


class OneByOne(ScriptedRelay):
    """Takes one mail after the other, slowly, and counts the copies of each."""

    def __init__(self) -> None:
        super().__init__(offers=())
        self.copies: Counter[bytes] = Counter()
        self.answers = {"RCPT": self._answer, "DOT": self._take}
        self.asked = b""
        self.pause = threading.Event()

    def _answer(self, line: bytes) -> bytes:
        self.asked = line
        return b"250 ok\r\n"

    def _take(self, line: bytes) -> bytes:
        self.copies[self.asked] += 1
        time.sleep(0.15)
        return b"250 2.0.0 Ok: queued as A1\r\n"


@pytest.mark.parametrize("is_renewed", [True, False])
def test_no_email_begins_under_a_lease_that_may_be_over(
    people: Cast, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_renewed: bool
) -> None:
    monkeypatch.setattr(claiming, "_LEASE", timedelta(seconds=2))
    monkeypatch.setattr(draining, "RENEW_SECONDS", 0.3 if is_renewed else 1.7)
    queue(people.workspace, [f"p{n}@example.org" for n in range(20)])
    shared = relays.shared_server()
    MailServer.objects.filter(pk=shared.pk).update(connection_limit=1)

    async def story() -> tuple[OneByOne, int]:
        script = OneByOne()
        async with script.serve():
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{script.port}"
            settings.POSTROOM_DATA = tmp_path / "here"
            first = asyncio.create_task(sending.drain(shared.engine_lane))
            await asyncio.sleep(2.4)
            called_uncertain = await asyncio.to_thread(recovered_elsewhere, settings, tmp_path / "elsewhere")
            await asyncio.to_thread(lambda: Email.objects.update(due_at=timezone.now()))
            await asyncio.gather(first, sending.drain(shared.engine_lane))
            settings.POSTROOM_DATA = tmp_path / "here"
            await sending.drain(shared.engine_lane)
        return script, called_uncertain

    script, called_uncertain = run(story())
    assert called_uncertain == 0
    assert set(script.copies.values()) == {1}
    assert len(script.copies) == 20
