"""Technical → Automation: Scheduled Actions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from postroom.flows import acting
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.schedule.planning import zone_of
from postroom.workspaces import stations
from postroom.workspaces.models import Member, Role, Workspace
from tests.people import Cast
from tests.web.conftest import Browse

AT = datetime(2027, 1, 31, 1, 20, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def developers(people: Cast) -> None:
    """Both are in developer mode; what differs is their role."""
    Member.objects.update(is_developer=True)


@pytest.fixture
def engine(db: None) -> None:
    """An engine runs somewhere."""
    stations.come("worker")


def action_of(people: Cast, key: str = "mail_queue", **changed: Any) -> ScheduledAction:
    ScheduledAction.objects.filter(workspace=people.workspace, key=key).update(**changed)
    return ScheduledAction.objects.get(workspace=people.workspace, key=key)


def listed(browser: Client) -> str:
    answer = browser.get(reverse("actions"))
    assert answer.status_code == 200
    return answer.content.decode()


def page(browser: Client, action: ScheduledAction) -> str:
    answer = browser.get(reverse("action", args=[action.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def typed(action: ScheduledAction, **changed: Any) -> dict[str, Any]:
    """The form as a browser sends it."""
    zone = zone_of(action)
    fields = {
        "is_active": "on" if action.is_active else "",
        "interval": action.interval,
        "unit": action.unit,
        "next_call": f"{action.next_call_at.astimezone(zone):%Y-%m-%dT%H:%M}",
        "time_zone": action.time_zone,
        "priority": action.priority,
        **changed,
    }
    return {name: value for name, value in fields.items() if value not in (None, False)}


def running(people: Cast, key: str = "mail_queue") -> ScheduledAction:
    began_at = timezone.now() - timedelta(minutes=2)
    return action_of(people, key, lease="x", began_at=began_at, leased_until=began_at + timedelta(hours=1))


# Who sees it.


def test_technical_is_for_administrators_in_developer_mode(people: Cast, browse: Browse) -> None:
    Member.objects.filter(pk=people.ana.pk).update(role=Role.ADMIN)
    for member, is_developer, is_shown in ((people.olga, True, True), (people.ana, False, False)):
        Member.objects.filter(pk=member.pk).update(is_developer=is_developer)
        browser = browse(member)
        assert (reverse("technical") in browser.get("/").content.decode()) == is_shown
        assert browser.get(reverse("actions")).status_code == (200 if is_shown else 404)


def test_to_a_member_who_is_no_administrator_there_are_no_actions(people: Cast, as_ana: Client) -> None:
    action = action_of(people)
    before = ScheduledAction.objects.values().get(pk=action.pk)
    assert reverse("technical") not in as_ana.get("/").content.decode()
    assert as_ana.get(reverse("technical")).status_code == 404
    assert as_ana.get(reverse("actions")).status_code == 404
    assert as_ana.get(reverse("action", args=[action.pk])).status_code == 404
    assert as_ana.post(reverse("action", args=[action.pk]), typed(action, interval=30)).status_code == 404
    assert as_ana.post(reverse("run_action", args=[action.pk])).status_code == 404
    assert ScheduledAction.objects.values().get(pk=action.pk) == before
    assert not Trigger.objects.exists()


def test_an_action_of_another_workspace_is_not_found(people: Cast, neighbours: Cast, as_olga: Client) -> None:
    theirs = action_of(neighbours)
    assert as_olga.get(reverse("action", args=[theirs.pk])).status_code == 404
    assert as_olga.post(reverse("action", args=[theirs.pk]), typed(theirs, interval=30)).status_code == 404
    assert as_olga.post(reverse("run_action", args=[theirs.pk])).status_code == 404
    assert reverse("action", args=[theirs.pk]) not in listed(as_olga)
    assert action_of(neighbours).interval == 60
    assert not Trigger.objects.exists()


def test_technical_leads_to_the_actions_and_the_parameters(people: Cast, as_olga: Client) -> None:
    assert as_olga.get(reverse("technical"), follow=True).redirect_chain[-1][0] == reverse("actions")
    shown = listed(as_olga)
    assert reverse("parameters") in shown
    assert f'<a href="{reverse("technical")}" aria-current="page">' in shown


# The list.


def test_every_action_is_listed_by_its_name_with_its_purpose(people: Cast, as_olga: Client) -> None:
    """In the order of the catalogue, under the path that people know."""
    shown = listed(as_olga)
    assert "Automation: Scheduled Actions" in shown
    names = re.findall(r'class="unread" href="[^"]+" lang="en">([^<]+)<', shown)
    assert names[:2] == ["Mail: Email Queue Manager", "Mail Marketing: Process queue"]
    assert len(names) == 8
    assert "Lets bulk mail leave that waits for its turn" in shown


def test_names_stay_what_they_are_in_other_languages(people: Cast, as_olga: Client) -> None:
    Member.objects.filter(pk=people.olga.pk).update(language="ro")
    assert "Mail: Email Queue Manager" in listed(as_olga)


def test_the_interval_and_the_next_call_are_said_by_the_clock_of_the_action(
    people: Cast, as_olga: Client
) -> None:
    action_of(people, "auto_vacuum", next_call_at=AT, anchor_at=AT, time_zone="Europe/Bucharest")
    shown = listed(as_olga)
    assert "every day at 03:20" in shown
    assert "31 Jan 2027 03:20 Europe/Bucharest" in shown
    assert "every 60 minutes" in shown


@pytest.mark.parametrize(
    ("interval", "unit", "words"),
    [
        (1, "hours", "every hour"),
        (3, "days", "every 3 days at 01:20"),
        (1, "weeks", "every week, Sunday at 01:20"),
        (2, "months", "every 2 months, on day 31 at 01:20"),
    ],
)
def test_every_interval_has_its_words(
    people: Cast, as_olga: Client, interval: int, unit: str, words: str
) -> None:
    february = datetime(2027, 2, 28, 1, 20, 30, tzinfo=UTC)
    action_of(people, interval=interval, unit=unit, next_call_at=february, anchor_at=AT)
    assert words in listed(as_olga)


def test_the_last_run_is_told_with_its_time_and_what_it_did(people: Cast, as_olga: Client) -> None:
    now = timezone.now()
    done: dict[str, Any] = {
        "last_run_at": now,
        "last_seconds": 75.2,
        "last_counts": {"released emails": 1200},
    }
    action_of(people, last_result="done", last_success_at=now, **done)
    shown = listed(as_olga)
    assert "1 min 15 s: 1,200 released emails" in shown
    assert "The last run did all that there was to do." in shown


def test_a_run_that_failed_says_how_often_and_since_when(people: Cast, as_olga: Client) -> None:
    since = timezone.now() - timedelta(hours=5)
    action = action_of(
        people, last_result="failed", failure_count=3, failing_since=since, last_error="OSError: no <space>"
    )
    shown = listed(as_olga)
    assert "3 failed runs since" in shown
    assert 'data-look="failed"' in shown
    assert "It is tried again at its next call." in shown
    assert "OSError: no &lt;space&gt;" in page(as_olga, action)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "Not run yet"),
        ({"last_result": "unfinished", "is_unfinished": True}, "goes on by itself"),
        ({"last_result": "lost", "timeout_count": 2}, "never came back"),
        ({"is_active": False}, "until it is switched on again"),
        ({"is_active": False, "deactivated_at": AT}, "mend its cause"),
        ({"next_call_at": AT - timedelta(days=300)}, "it runs within a minute"),
    ],
)
def test_every_state_says_what_it_means_and_what_to_do(
    people: Cast, as_olga: Client, changed: dict[str, Any], words: str
) -> None:
    action = action_of(people, **changed)
    assert words in page(as_olga, action)
    assert words in listed(as_olga)


def test_what_runs_has_no_button_and_no_form(people: Cast, as_olga: Client) -> None:
    action = running(people)
    assert "Running" in listed(as_olga)
    assert reverse("run_action", args=[action.pk]) not in listed(as_olga)
    shown = page(as_olga, action)
    assert 'name="interval"' not in shown
    assert "It is at work and can be changed once this run has ended." in shown


@pytest.mark.parametrize("key", ["mailing_ab", "fetchmail", "webhook_retries"])
def test_what_this_version_does_not_have_says_so_and_has_no_buttons(
    people: Cast, as_olga: Client, key: str
) -> None:
    action = action_of(people, key)
    assert "Not in this version" in listed(as_olga)
    shown = page(as_olga, action)
    assert "This version of Postroom" in shown
    assert reverse("run_action", args=[action.pk]) not in shown + listed(as_olga)
    assert 'name="interval"' not in shown
    as_olga.post(reverse("run_action", args=[action.pk]))
    assert not Trigger.objects.exists()


def test_without_an_engine_the_page_says_who_has_to_do_what(people: Cast, as_olga: Client) -> None:
    assert "No engine is running" in listed(as_olga)
    assert "No engine is running" in page(as_olga, action_of(people))


def test_with_an_engine_nobody_is_alarmed(people: Cast, as_olga: Client, engine: None) -> None:
    assert "No engine is running" not in listed(as_olga)


def test_the_cost_of_the_list_does_not_grow_with_what_is_planned(
    people: Cast, as_olga: Client, django_assert_max_num_queries: Any
) -> None:
    listed(as_olga)
    for minutes in range(60):
        Trigger.objects.create(action=action_of(people), at=AT + timedelta(minutes=minutes))
    with django_assert_max_num_queries(20):
        listed(as_olga)


# One of them.


def test_it_is_changed_and_the_change_is_shown(people: Cast, as_olga: Client) -> None:
    action = action_of(people)
    url = reverse("action", args=[action.pk])
    answer = as_olga.post(url, typed(action, interval=30, priority=2), follow=True)
    assert answer.redirect_chain[-1][0] == url
    assert "every 30 minutes" in answer.content.decode()
    changed = action_of(people)
    assert (changed.interval, changed.priority, changed.is_active) == (30, 2, True)


def test_saving_what_was_shown_changes_nothing(people: Cast, as_olga: Client) -> None:
    """Not even the seconds of the next call, which the form does not show."""
    before = action_of(people, next_call_at=AT, anchor_at=AT, time_zone="Europe/Madrid")
    as_olga.post(reverse("action", args=[before.pk]), typed(before))
    assert action_of(people).next_call_at == AT
    assert action_of(people).anchor_at == AT


def test_the_next_call_is_typed_by_the_clock_of_the_action(people: Cast, as_olga: Client) -> None:
    Workspace.objects.update(time_zone="Europe/Bucharest")
    action = action_of(people, "auto_vacuum")
    local = (timezone.now() + timedelta(days=3)).strftime("%Y-%m-%dT04:45")
    as_olga.post(reverse("action", args=[action.pk]), typed(action, next_call=local))
    changed = action_of(people, "auto_vacuum")
    zone = zone_of(changed)
    assert f"{changed.next_call_at.astimezone(zone):%Y-%m-%dT%H:%M}" == local
    assert "every day at 04:45" in page(as_olga, changed)


def test_another_zone_keeps_the_hour_that_is_shown(people: Cast, as_olga: Client) -> None:
    action = action_of(people, "auto_vacuum", next_call_at=timezone.now() + timedelta(days=2))
    as_olga.post(reverse("action", args=[action.pk]), typed(action, time_zone="america/lima"))
    changed = action_of(people, "auto_vacuum")
    assert changed.time_zone == "America/Lima"
    assert changed.next_call_at == action.next_call_at.replace(second=0, microsecond=0) + timedelta(hours=5)


@pytest.mark.parametrize(
    ("typing", "words"),
    [
        ({"interval": 4}, "The shortest interval is 5 minutes"),
        ({"interval": "soon"}, "Enter a whole number"),
        ({"unit": "years"}, "Select a valid choice"),
        ({"time_zone": "Bucharest"}, "Write one like Europe/Bucharest"),
        ({"next_call": "2001-01-01T03:20"}, "That time has passed"),
        ({"next_call": "9999-12-31T23:59", "time_zone": "America/Lima"}, "more than a year ahead"),
        ({"next_call": ""}, "This field is required"),
        ({"priority": 100}, "less than or equal to 99"),
    ],
)
def test_what_cannot_be_is_refused_beside_the_form(
    people: Cast, as_olga: Client, typing: dict[str, Any], words: str
) -> None:
    action = action_of(people)
    before = ScheduledAction.objects.values().get(pk=action.pk)
    answer = as_olga.post(reverse("action", args=[action.pk]), typed(action, **typing))
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert ScheduledAction.objects.values().get(pk=action.pk) == before


def test_under_15_minutes_is_taken_with_a_warning(people: Cast, as_olga: Client) -> None:
    action = action_of(people)
    answer = as_olga.post(reverse("action", args=[action.pk]), typed(action, interval=10), follow=True)
    assert action_of(people).interval == 10
    assert "Under 15 minutes one run may not get through everything" in answer.content.decode()


def test_while_it_runs_a_change_is_refused_with_the_reason(people: Cast, as_olga: Client) -> None:
    action = running(people)
    answer = as_olga.post(reverse("action", args=[action.pk]), typed(action, interval=30))
    assert answer.status_code == 422
    assert "Wait a moment, then try again." in answer.content.decode()
    assert action_of(people).interval == 60


def test_it_is_switched_off_and_on_again(people: Cast, as_olga: Client) -> None:
    action = action_of(people, "dns_check")
    url = reverse("action", args=[action.pk])
    as_olga.post(url, typed(action, is_active=None))
    assert not action_of(people, "dns_check").is_active
    assert "none while it is switched off" in page(as_olga, action)
    failing = action_of(people, "dns_check", deactivated_at=AT, failure_count=6, failing_since=AT)
    as_olga.post(url, typed(failing, is_active="on"))
    changed = action_of(people, "dns_check")
    assert (changed.is_active, changed.deactivated_at, changed.failure_count) == (True, None, 0)


def test_what_is_off_does_not_speak_of_an_earlier_run(people: Cast, as_olga: Client) -> None:
    action = action_of(people, is_active=False)
    shown = page(as_olga, action)
    assert "Planned earlier" not in shown
    assert "None: it is switched off, and nobody has pressed Run Manually." in shown
    Trigger.objects.create(action=action, at=timezone.now(), is_by_hand=True)
    assert "planned earlier:" not in listed(as_olga)


def test_switching_off_the_email_queue_says_that_bulk_mail_waits(people: Cast, as_olga: Client) -> None:
    action = action_of(people)
    assert "Switched off, all bulk mail waits." in page(as_olga, action)
    url = reverse("action", args=[action.pk])
    answer = as_olga.post(url, typed(action, is_active=None), follow=True)
    assert "All bulk mail waits from now on" in answer.content.decode()


def test_the_page_looks_again_by_itself_while_a_run_goes_on(people: Cast, as_olga: Client) -> None:
    """And has a link for who reads without JavaScript; afterwards it stays still."""
    assert 'hx-trigger="every 3s"' in page(as_olga, running(people))
    assert "Look again" in page(as_olga, running(people))
    still = page(as_olga, action_of(people, lease="", began_at=None, next_call_at=AT))
    assert "hx-trigger" not in still
    assert "Look again" not in still


def test_what_is_planned_is_listed_with_its_time(people: Cast, as_olga: Client) -> None:
    action = action_of(people, time_zone="Europe/Bucharest")
    Trigger.objects.create(action=action, at=AT)
    shown = page(as_olga, action)
    assert "31 Jan 2027 03:20 Europe/Bucharest" in shown
    assert "counts only if it is switched on by then" not in shown
    action_of(people, is_active=False)
    assert "counts only if it is switched on by then" in page(as_olga, action)


# Run Manually.


@pytest.mark.django_db(transaction=True)
def test_it_is_run_by_hand_and_what_it_did_is_shown(people: Cast, as_olga: Client) -> None:
    action = action_of(people, "scheduled_messages", is_active=False)
    answer = as_olga.post(reverse("run_action", args=[action.pk]), follow=True)
    assert "runs now" in answer.content.decode()
    assert "About to run" in answer.content.decode()
    assert acting.run_due() == 1
    shown = page(as_olga, action)
    assert "<dt>Last run</dt><dd><time" in shown
    assert "About to run" not in shown


def test_pressing_again_before_it_has_begun_is_refused(people: Cast, as_olga: Client) -> None:
    url = reverse("run_action", args=[action_of(people, "scheduled_messages").pk])
    as_olga.post(url)
    assert "It waits for its turn already" in as_olga.post(url, follow=True).content.decode()
    assert Trigger.objects.count() == 1


def test_running_the_mailing_queue_by_hand_is_asked_about_first(people: Cast, as_olga: Client) -> None:
    """It does not make it faster and may do harm; it can be done all the same, without any script."""
    url = reverse("run_action", args=[action_of(people, "mailing_queue").pk])
    asked = as_olga.post(url).content.decode()
    assert "does not make it faster and may cause errors" in asked
    assert not Trigger.objects.exists()
    assert 'name="confirmed"' in asked
    as_olga.post(url, {"confirmed": "yes"})
    assert Trigger.objects.get().is_by_hand


def test_a_page_that_is_only_looked_at_runs_nothing(people: Cast, as_olga: Client) -> None:
    assert as_olga.get(reverse("run_action", args=[action_of(people).pk])).status_code == 405
    assert not Trigger.objects.exists()
