"""When new actions begin, and whose clock they go by."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from postroom.schedule import planning
from postroom.schedule.catalogue import SHIPPED, named
from postroom.schedule.models import ScheduledAction
from postroom.workspaces.models import Workspace
from tests.people import Cast
from tests.schedule.rows import NOON

ZONES = ["UTC", "Europe/Bucharest", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe"]


@given(st.integers(1, 10**9), st.sampled_from(list(SHIPPED)), st.sampled_from(ZONES), st.integers(0, 10**7))
def test_first_calls_lie_within_the_interval_and_daily_ones_at_night(
    number: int, key: str, zone: str, seconds: int
) -> None:
    now, shipped = NOON + timedelta(seconds=seconds), SHIPPED[key]
    call = planning.first_call(Workspace(pk=number, time_zone=zone), shipped, now)
    assert call > now
    if shipped.unit == "days":
        assert call <= now + timedelta(days=1, hours=1)
        assert call.astimezone(ZoneInfo(zone)).hour in (2, 3, 4)
    else:
        assert call <= now + timedelta(minutes=shipped.interval)


def test_a_thousand_workspaces_do_not_begin_in_the_same_second() -> None:
    shipped = SHIPPED["mail_queue"]
    calls = Counter(planning.first_call(Workspace(pk=pk), shipped, NOON) for pk in range(1, 1001))
    assert max(calls.values()) <= 5
    per_minute = Counter(call.replace(second=0) for call in calls.elements())
    assert max(per_minute.values()) <= 40  # 17 on average


def test_what_is_missing_is_made_and_what_is_there_is_kept(people: Cast) -> None:
    rows = ScheduledAction.objects.filter(workspace=people.workspace)
    rows.filter(key="dns_check").delete()
    rows.filter(key="mail_queue").update(interval=30)
    assert planning.ensure([people.workspace]) == 1
    assert planning.ensure([people.workspace]) == 0
    assert rows.get(key="mail_queue").interval == 30


def test_what_this_version_cannot_do_is_off_from_the_start(people: Cast) -> None:
    off = ScheduledAction.objects.filter(workspace=people.workspace, is_active=False)
    assert set(off.values_list("key", flat=True)) == {"mailing_ab", "fetchmail", "webhook_retries"}


def test_an_action_is_found_by_its_key_and_by_its_name() -> None:
    assert named("mail_queue") is named(" mail: email queue manager ")
    assert named("nothing of the kind") is None
