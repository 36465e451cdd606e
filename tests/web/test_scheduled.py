"""Sending later and taking back, in the pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from postroom.conversations.models import Contact, Message, Notification, ScheduledMessage
from postroom.flows import scheduling
from postroom.outgoing.models import Email
from postroom.workspaces.models import SystemParameter
from tests.people import Cast, join
from tests.web.conftest import Browse

TOMORROW = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)


def page(client: Client, people: Cast, query: str = "") -> str:
    return client.get(reverse("record", args=[people.record.pk]) + query).content.decode()


def post(client: Client, people: Cast, **fields: Any) -> Any:
    fields = {"kind": "discussions", "body": "Monday is fine.", **fields}
    return client.post(reverse("post_message", args=[people.record.pk]), fields)


def typed(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M}"


def schedule(client: Client, people: Cast, **fields: Any) -> ScheduledMessage:
    post(client, people, at=typed(TOMORROW), when="post", **fields)
    return ScheduledMessage.objects.latest("pk")


def said() -> list[str]:
    return [message.text.strip() for message in Message.objects.filter(kind="comment").order_by("pk")]


def set_undo(people: Cast, seconds: int) -> None:
    SystemParameter.objects.create(workspace=people.workspace, key="mail.undo.seconds", value=str(seconds))


def test_a_message_is_posted_later_and_listed_above_the_composer(people: Cast, as_ana: Client) -> None:
    """Nobody is told before."""
    row = schedule(as_ana, people, named="carla@example.com")
    assert (row.post_at, row.member, row.named) == (TOMORROW, people.ana, [people.carla.pk])
    assert (said(), Email.objects.count()) == ([], 0)
    shown = page(as_ana, people)
    assert shown.index(f'id="scheduled-{row.pk}"') < shown.index('id="composer"')
    assert "Monday is fine." in shown
    assert "Post now" in shown


def test_a_time_is_meant_in_utc_or_in_the_zone_that_the_browser_names(people: Cast, as_ana: Client) -> None:
    """The page says which."""
    assert re.search(r'data-zone><span class="quiet">UTC</span>', page(as_ana, people))
    assert schedule(as_ana, people, zone="").post_at == TOMORROW
    there = TOMORROW.astimezone(ZoneInfo("Europe/Bucharest")).utcoffset()
    assert schedule(as_ana, people, zone="Europe/Bucharest").post_at == TOMORROW - (there or timedelta())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"at": "2020-01-01T09:00"}, "That time has passed."),
        ({"at": typed(TOMORROW + timedelta(days=500))}, "more than a year ahead"),
        ({"at": typed(TOMORROW), "zone": "Mars/Olympus"}, "Mars/Olympus is not known here"),
        ({"at": "tomorrow"}, "Enter a valid date/time."),
    ],
)
def test_a_time_that_cannot_be_used_loses_nothing_that_was_written(
    people: Cast, as_ana: Client, fields: dict[str, str], words: str
) -> None:
    """The composer comes back with the words and the reason."""
    answer = post(as_ana, people, when="post", **fields)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert "Monday is fine." in answer.content.decode()
    assert not ScheduledMessage.objects.exists()
    assert said() == []


def test_it_is_moved_posted_now_and_called_off(people: Cast, as_ana: Client) -> None:
    """Each from its own button."""
    first, second = schedule(as_ana, people), schedule(as_ana, people, body="No.")
    later = TOMORROW + timedelta(days=2)
    as_ana.post(reverse("move_scheduled", args=[first.pk]), {"at": typed(later), "zone": "UTC"})
    first.refresh_from_db()
    assert first.post_at == later
    answer = as_ana.post(reverse("post_scheduled", args=[first.pk]))
    assert "#message-" in answer.headers["Location"]
    as_ana.post(reverse("cancel_scheduled", args=[second.pk]))
    assert said() == ["Monday is fine."]
    assert 'id="waiting"' not in page(as_ana, people)


def test_what_is_edited_takes_the_place_of_what_it_was_with_its_files(people: Cast, as_ana: Client) -> None:
    """It waits as it was until the change is sent."""
    files = [SimpleUploadedFile("a.txt", b"a", "text/plain"), SimpleUploadedFile("b.txt", b"b", "text/plain")]
    row = schedule(as_ana, people, named="carla@example.com", attached=files)
    shown = page(as_ana, people, f"?edit={row.pk}")
    assert "You are changing a scheduled message." in shown
    assert 'value="carla@example.com"' in shown
    assert f'data-utc="{typed(TOMORROW)}Z"' in shown
    post(as_ana, people, body="Tuesday.", at=typed(TOMORROW), when="post", replaces=row.pk, kept=["1"])
    row.refresh_from_db()
    [new] = ScheduledMessage.objects.waiting()
    assert (row.state, new.text) == ("cancelled", "Tuesday.")
    assert [file["name"] for file in new.files] == ["b.txt"]


def test_what_was_posted_while_it_was_edited_is_not_said_twice(people: Cast, as_ana: Client) -> None:
    """The words come back instead."""
    row = schedule(as_ana, people)
    scheduling.post_now(row, people.ana)
    answer = post(as_ana, people, body="Tuesday.", replaces=row.pk)
    assert answer.status_code == 422
    assert "has been posted already" in answer.content.decode()
    assert said() == ["Monday is fine."]


def test_the_emails_alone_leave_later(people: Cast, as_ana: Client) -> None:
    """The conversation says when, and they can be moved, sent and cancelled."""
    post(as_ana, people, at=typed(TOMORROW), when="send")
    message = Message.objects.get(kind="comment")
    assert (message.send_at, Email.objects.get().due_at) == (TOMORROW, TOMORROW)
    assert "Emails leave" in page(as_ana, people)
    assert "scheduled for" in as_ana.get("/emails").content.decode()
    later = TOMORROW + timedelta(days=2)
    as_ana.post(reverse("move_emails", args=[message.pk]), {"at": typed(later), "zone": "UTC"})
    assert Email.objects.get().due_at == later
    as_ana.post(reverse("call_off_emails", args=[message.pk]))
    assert Email.objects.get().state == "cancelled"
    shown = as_ana.post(reverse("send_emails_now", args=[message.pk]), follow=True).content.decode()
    assert "have left already" in shown
    assert "Emails leave" not in shown


def test_without_an_undo_window_a_message_is_posted_at_once(people: Cast, as_ana: Client) -> None:
    """As it is unless somebody sets one."""
    assert "#message-" in post(as_ana, people).headers["Location"]


def test_a_message_can_be_undone_and_comes_back_into_the_composer(people: Cast, as_ana: Client) -> None:
    """With its people and its files, and nobody was told."""
    set_undo(people, 30)
    file = SimpleUploadedFile("a.txt", b"a", "text/plain")
    answer = post(as_ana, people, named="carla@example.com", attached=[file])
    row = ScheduledMessage.objects.get()
    assert answer.headers["Location"].endswith(f"#scheduled-{row.pk}")
    assert 25 < (row.post_at - timezone.now()).total_seconds() <= 30
    assert "Leaves in a moment" in page(as_ana, people)
    undone = as_ana.post(reverse("undo", args=[row.pk]), follow=True).content.decode()
    assert "Monday is fine." in undone
    assert "Taken back: nobody was told." in undone
    assert 'name="kept" value="0" checked> a.txt' in undone
    set_undo_off = SystemParameter.objects.filter(workspace=people.workspace)
    set_undo_off.delete()
    post(as_ana, people, body="Better so.", replaces=row.pk, kept=["0"])
    [message] = Message.objects.filter(kind="comment")
    assert [file.name for file in message.attachments.all()] == ["a.txt"]


def test_what_was_taken_back_is_kept_for_its_writer_until_it_is_written_on_or_discarded(
    people: Cast, as_ana: Client, as_olga: Client
) -> None:
    """Leaving the page loses nothing; nobody else reads it."""
    set_undo(people, 30)
    for _each in range(2):
        post(as_ana, people)
    first, second = ScheduledMessage.objects.order_by("pk")
    for row in (first, second):
        as_ana.post(reverse("undo", args=[row.pk]))
    shown = page(as_ana, people)
    assert shown.count("You took back a message:") == 2
    assert shown.count("Continue writing") == 2
    assert "took back" not in page(as_olga, people)
    as_olga.post(reverse("discard_scheduled", args=[first.pk]))
    assert page(as_ana, people).count("You took back a message:") == 2
    as_ana.post(reverse("discard_scheduled", args=[first.pk]))
    post(as_ana, people, replaces=second.pk)
    assert "You took back a message:" not in page(as_ana, people)


def test_after_its_window_a_message_leaves_by_itself_and_can_no_longer_be_undone(
    people: Cast, as_ana: Client
) -> None:
    """And that is said."""
    set_undo(people, 30)
    post(as_ana, people)
    ScheduledMessage.objects.update(post_at=timezone.now())
    scheduling.post_due()
    shown = as_ana.post(
        reverse("undo", args=[ScheduledMessage.objects.get().pk]), follow=True
    ).content.decode()
    assert "could not be taken back" in shown
    assert said() == ["Monday is fine."]


def test_an_undo_window_is_nobodys_business_but_its_writers(
    people: Cast, as_ana: Client, as_olga: Client
) -> None:
    """Others see it once it is said."""
    set_undo(people, 30)
    post(as_ana, people)
    assert "Monday is fine." not in page(as_olga, people)


def test_undone_words_are_read_by_nobody_else_and_go_once_they_are_said_anew(
    people: Cast, as_ana: Client, as_olga: Client
) -> None:
    """Neither by an administrator who knows the address of the page."""
    set_undo(people, 30)
    post(as_ana, people)
    row = ScheduledMessage.objects.get()
    path = reverse("scheduled", args=[row.pk])
    assert (as_olga.get(path).status_code, as_ana.get(path).status_code) == (404, 200)
    as_ana.post(reverse("undo", args=[row.pk]))
    assert (as_olga.get(path).status_code, as_ana.get(path).status_code) == (404, 200)
    post(as_ana, people, body="Better so.", replaces=row.pk)
    assert [each.text for each in ScheduledMessage.objects.all()] == ["Better so."]


def test_undone_words_that_are_not_said_anew_go_after_a_week(people: Cast, as_ana: Client) -> None:
    """What was called off otherwise stays for two weeks."""
    set_undo(people, 30)
    post(as_ana, people)
    as_ana.post(reverse("undo", args=[ScheduledMessage.objects.get().pk]))
    scheduling.cancel(schedule(as_ana, people, body="Kept."), people.ana)
    assert not scheduling.settled_long_ago(people.workspace.pk)
    ScheduledMessage.objects.update(post_at=timezone.now() - timedelta(days=7, minutes=1))
    assert scheduling.settled_long_ago(people.workspace.pk).delete()[0] == 1
    assert ScheduledMessage.objects.get().text == "Kept."


def test_a_failure_is_told_with_a_link_to_what_was_written(people: Cast, as_ana: Client) -> None:
    """And with what to do."""
    row = schedule(as_ana, people, named="carla@example.com")
    Contact.objects.filter(pk=people.carla.pk).update(is_active=False)
    ScheduledMessage.objects.update(post_at=timezone.now())
    scheduling.post_due()
    assert Notification.objects.filter(scheduled=row, member=people.ana).exists()
    inbox = as_ana.get("/").content.decode()
    link = reverse("scheduled", args=[row.pk])
    assert link in inbox
    shown = as_ana.get(link).content.decode()
    assert "Carla Stan" in shown
    assert "Nothing of it was said." in shown
    assert "Could not be posted" in page(as_ana, people)


def test_a_failure_on_a_record_that_is_gone_still_shows_what_was_written(
    people: Cast, as_ana: Client
) -> None:
    """It is never lost."""
    row = schedule(as_ana, people)
    people.record.followers.all().delete()
    people.record.delete()
    ScheduledMessage.objects.update(post_at=timezone.now())
    scheduling.post_due()
    shown = as_ana.get(reverse("scheduled", args=[row.pk])).content.decode()
    assert "Monday is fine." in shown
    assert "no longer there" in shown
    assert as_ana.get("/").status_code == 200


def test_another_member_sees_it_and_may_not_touch_it(people: Cast, as_ana: Client, browse: Browse) -> None:
    """It is said in its writer's name."""
    row = schedule(as_ana, people)
    dan = browse(join(people.workspace, "dan@demo.example", "Dan"))
    shown = page(dan, people, f"?edit={row.pk}")
    assert "Monday is fine." in shown
    assert "Call it off" not in shown
    assert "You are changing" not in shown
    dan.post(reverse("cancel_scheduled", args=[row.pk]))
    post(dan, people, body="Mine.", replaces=row.pk)
    row.refresh_from_db()
    assert row.state == "waiting"


def test_a_neighbour_finds_nothing(people: Cast, neighbours: Cast, as_ana: Client, browse: Browse) -> None:
    """Whatever it asks for."""
    row = schedule(as_ana, people)
    post(as_ana, people, at=typed(TOMORROW), when="send")
    message = Message.objects.get(kind="comment")
    stranger = browse(neighbours.olga)
    assert stranger.get(reverse("scheduled", args=[row.pk])).status_code == 404
    for name in ("move_scheduled", "post_scheduled", "cancel_scheduled", "undo"):
        assert stranger.post(reverse(name, args=[row.pk])).status_code == 404
    for name in ("move_emails", "send_emails_now", "call_off_emails"):
        assert stranger.post(reverse(name, args=[message.pk])).status_code == 404
    row.refresh_from_db()
    assert (row.state, Email.objects.get().due_at) == ("waiting", TOMORROW)


def test_an_edited_time_is_shown_in_utc_and_named_so(people: Cast, as_ana: Client) -> None:
    """The script turns both into the reader's zone."""
    row = schedule(as_ana, people)
    shown = page(as_ana, people)
    assert f'value="{row.post_at.astimezone(UTC):%Y-%m-%dT%H:%M}" data-utc="' in shown
