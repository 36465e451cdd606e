"""`postroom action …`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from postroom.schedule.catalogue import SHIPPED
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.workspaces.models import Member, Workspace
from tests.commands.conftest import Postroom
from tests.commands.test_shapes import fits
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
LATER = (datetime.now(UTC) + timedelta(days=40)).replace(hour=3, minute=20, second=0, microsecond=0)


def stored(key: str = "mail_queue") -> ScheduledAction:
    return ScheduledAction.objects.get(workspace__slug="demo", key=key)


def put(key: str = "mail_queue", **changed: Any) -> None:
    ScheduledAction.objects.filter(workspace__slug="demo", key=key).update(**changed)


def test_actions_are_listed_in_words_and_for_programs(postroom: Postroom, people: Cast) -> None:
    shown = postroom("action", "list").out
    assert "every 60 minutes" in shown
    assert "“Every” goes by the clock of the time zone beside it; the other times are in UTC." in shown
    assert "This version of Postroom has no webhooks" in shown
    listed = postroom("action", "list", "--json")
    assert fits(listed, "action list")
    assert [each["key"] for each in listed.json["data"]] == list(SHIPPED)


def test_one_is_shown_with_its_last_run_and_its_trouble(postroom: Postroom, people: Cast) -> None:
    at = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
    put(last_run_at=at, last_seconds=0.42, last_result="failed", last_counts={"released emails": 1200})
    put(failure_count=3, failing_since=at, last_error="OSError: the disk is full")
    put(next_call_at=LATER, time_zone="Europe/Bucharest")
    Trigger.objects.create(action=stored(), at=LATER - timedelta(days=1))
    shown = postroom("action", "show", "mail_queue").out
    assert "Mail: Email Queue Manager (mail_queue): failed." in shown
    assert f"next {LATER:%Y-%m-%d} 05:20 Europe/Bucharest" in shown or "06:20 Europe/Bucharest" in shown
    assert "planned earlier: " in shown
    assert "Last run: 2026-11-02 09:00 UTC, 0.4 s, failed: 1,200 released emails." in shown
    assert "3 runs failed one after another since 2026-11-02 09:00 UTC." in shown
    assert "The error: OSError: the disk is full" in shown
    assert fits(postroom("action", "show", "mail_queue", "--json"), "action show")


@pytest.mark.parametrize("name", ["auto_vacuum", "Base: Auto-Vacuum", "base: auto-vacuum"])
def test_one_is_meant_by_its_key_or_its_name(postroom: Postroom, people: Cast, name: str) -> None:
    assert postroom("action", "show", name, "--json").json["key"] == "auto_vacuum"


def test_what_is_named_is_changed_and_the_rest_stays(postroom: Postroom, people: Cast) -> None:
    changed = postroom("action", "set", "mail_queue", "--every", "2", "--unit", "hours", "--json")
    assert fits(changed, "action set")
    assert (changed.json["action"]["every"], changed.json["warnings"]) == ("every 2 hours", [])
    assert (stored().interval, stored().unit, stored().priority) == (2, "hours", 6)
    assert "every 2 hours" in postroom("action", "set", "mail_queue", "--priority", "0").out
    assert stored().priority == 0


def test_a_time_is_meant_by_the_clock_of_the_action(postroom: Postroom, people: Cast) -> None:
    """Its own, the workspace's, or the one that is set with it; an offset says it all."""
    typed = f"{LATER:%Y-%m-%dT%H:%M}"
    set_call = ("action", "set", "auto_vacuum", "--next-call")
    postroom(*set_call, typed)
    assert stored("auto_vacuum").next_call_at == LATER
    postroom(*set_call, typed, "--time-zone", "asia/tokyo")
    assert stored("auto_vacuum").next_call_at == LATER - timedelta(hours=9)
    Workspace.objects.update(time_zone="America/Lima")
    postroom(*set_call, typed, "--time-zone", "")
    assert stored("auto_vacuum").next_call_at == LATER + timedelta(hours=5)
    postroom(*set_call, f"{typed}+02:00")
    assert stored("auto_vacuum").next_call_at == LATER - timedelta(hours=2)


def test_a_short_interval_is_set_with_a_warning(postroom: Postroom, people: Cast) -> None:
    ran = postroom("action", "set", "mail_queue", "--every", "10")
    assert ran.exit_code == 0
    assert "Under 15 minutes" in ran.out
    assert stored().interval == 10


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("mail_queue",), 2, "Say what to change"),
        (("nothing", "--every", "30"), 2, "mail_queue, mailing_queue"),
        (("mail_queue", "--every", "4"), 1, "The shortest interval is 5 minutes"),
        (("mail_queue", "--every", "0"), 1, "The interval is a whole number from 1 to 999."),
        (("mail_queue", "--priority", "100"), 1, "from 0, which runs first, to 99"),
        (("mail_queue", "--unit", "years"), 2, "minutes, hours, days, weeks, months"),
        (("mail_queue", "--time-zone", "Bucharest"), 1, "Europe/Bucharest"),
        (("mail_queue", "--next-call", "soon"), 2, "Write one like"),
        (("mail_queue", "--next-call", "2001-01-01T03:20"), 1, "Choose one that lies ahead"),
        (("mail_queue", "--next-call", "9999-12-31T23:59", "--time-zone", "America/Lima"), 1, "a year ahead"),
        (("fetchmail", "--every", "30"), 1, "This version of Postroom"),
    ],
)
def test_what_cannot_be_set_says_why_and_stays(
    postroom: Postroom, people: Cast, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = list(ScheduledAction.objects.order_by("pk").values())
    ran = postroom("action", "set", *arguments)
    assert (ran.exit_code, ran.out) == (code, "")
    assert words in ran.err
    assert list(ScheduledAction.objects.order_by("pk").values()) == before


def test_one_is_switched_off_and_on(postroom: Postroom, people: Cast) -> None:
    off = postroom("action", "disable", "dns_check", "--json")
    assert fits(off, "action disable")
    assert (off.json["action"]["state"], stored("dns_check").is_active) == ("off", False)
    assert "It is switched off; switched on, it would run" in postroom("action", "show", "dns_check").out
    put("dns_check", deactivated_at=timezone.now(), failure_count=6)
    on = postroom("action", "enable", "DNS check", "--json")
    assert fits(on, "action enable")
    assert (on.json["action"]["is_active"], on.json["action"]["failure_count"]) == (True, 0)


def test_a_run_is_asked_for_once(postroom: Postroom, people: Cast) -> None:
    asked = postroom("action", "run", "mailing_queue", "--json")
    assert fits(asked, "action run")
    assert asked.json["action"]["state"] == "due"
    assert "does not make it faster" in asked.json["warnings"][0]
    again = postroom("action", "run", "mailing_queue")
    assert again.exit_code == 1
    assert "It waits for its turn already" in again.err
    assert Trigger.objects.get().is_by_hand


def test_what_runs_is_left_alone(postroom: Postroom, people: Cast) -> None:
    put(lease="x", began_at=timezone.now(), leased_until=timezone.now() + timedelta(minutes=1))
    for arguments in (
        ("run", "mail_queue"),
        ("enable", "mail_queue"),
        ("set", "mail_queue", "--every", "30"),
    ):
        ran = postroom("action", *arguments)
        assert ran.exit_code == 1
        assert "It has been running since" in ran.err
    assert (stored().interval, stored().is_active, Trigger.objects.count()) == (60, True, 0)


@contextmanager
def an_engine_that(monkeypatch: pytest.MonkeyPatch, **ends: Any) -> Iterator[None]:
    """It is at work at the first look and has ended at the second."""
    looks = iter([{"lease": "x"}, {"lease": "", "last_run_at": timezone.now(), "last_seconds": 0.1, **ends}])

    def look_later(seconds: float) -> None:
        Trigger.objects.all().delete()
        put("scheduled_messages", **next(looks))

    monkeypatch.setattr("postroom.commands.actions.time.sleep", look_later)
    yield
    assert next(looks, None) is None


def test_a_run_that_is_waited_for_is_told_when_it_has_ended(
    postroom: Postroom, people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with an_engine_that(monkeypatch, last_result="done", last_counts={"due messages": 3}):
        ran = postroom("action", "run", "scheduled_messages", "--wait")
    assert ran.exit_code == 0
    assert "done: 3 due messages." in ran.out


@pytest.mark.parametrize("result", ["failed", "lost"])
def test_a_run_that_is_waited_for_and_fails_exits_1(
    postroom: Postroom, people: Cast, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    with an_engine_that(monkeypatch, last_result=result, last_error="OSError: gone"):
        ran = postroom("action", "run", "scheduled_messages", "--wait", "--json")
    assert ran.exit_code == 1
    assert f'"last_result": "{result}"' in ran.out


def test_a_run_that_does_not_end_is_not_waited_for_forever(postroom: Postroom, people: Cast) -> None:
    """It was asked for all the same."""
    ran = postroom("action", "run", "scheduled_messages", "--wait", "--timeout", "1")
    assert (ran.exit_code, ran.out) == (1, "")
    assert "has not ended within 1 seconds" in ran.err
    assert "postroom up` running?" in ran.err
    assert Trigger.objects.count() == 1


def test_of_several_workspaces_only_the_named_one_is_touched(postroom: Postroom, people: Cast) -> None:
    cast("next")
    assert postroom("action", "list").exit_code == 2
    postroom("action", "set", "mail_queue", "--every", "30", "--workspace", "next")
    intervals = ScheduledAction.objects.filter(key="mail_queue").values_list("workspace__slug", "interval")
    assert set(intervals) == {("demo", 60), ("next", 30)}


def test_without_an_administrator_nothing_is_changed(postroom: Postroom, people: Cast) -> None:
    Member.objects.update(role="member")
    assert postroom("action", "disable", "mail_queue").exit_code == 1
    assert stored().is_active


@pytest.mark.parametrize(
    "arguments",
    ["list", "show mail_queue", "run mail_queue", "set mail_queue --every 30", "enable dns_check"],
)
def test_a_command_of_its_own_process_finds_nothing_and_says_so(tmp_path: Path, arguments: str) -> None:
    """Nothing is imported before the configuration is read, so it is no traceback."""
    ran = subprocess.run(
        [sys.executable, "-c", "from postroom.commands import main; main()", "action", *arguments.split()],
        env={"PATH": os.environ["PATH"], "POSTROOM_DATA": str(tmp_path / "new")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "postroom workspace create" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_workspace_without_actions_says_when_they_are_made(postroom: Postroom, people: Cast) -> None:
    ScheduledAction.objects.all().delete()
    assert "Nothing there." in postroom("action", "list").out
    assert "postroom up` starts" in postroom("action", "show", "mail_queue").err
