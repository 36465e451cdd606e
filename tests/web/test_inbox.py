"""The inbox."""

from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from postroom.conversations.models import Notification
from tests.people import Cast
from tests.web.mail import failed, said


def _notify(people: Cast, kind: str, text: str) -> Notification:
    message = said(people, text)
    return Notification.objects.create(
        workspace=people.workspace, member=people.ana, message=message, kind=kind
    )


def test_failures_come_before_everything_else(people: Cast, as_ana: Client) -> None:
    """However old they are."""
    _notify(people, "failure", "first")
    _notify(people, "message", "second")
    page = as_ana.get("/").content.decode()
    assert page.index("first") < page.index("second")


def test_each_part_is_in_the_order_of_time(people: Cast, as_ana: Client) -> None:
    """A failure that counted up again is newer than one noted after it."""
    old, new = _notify(people, "failure", "counted up"), _notify(people, "failure", "failed once")
    Notification.objects.filter(pk=old.pk).update(created_at=timezone.now() + timedelta(minutes=1))
    page = as_ana.get("/").content.decode()
    assert page.index("counted up") < page.index("failed once")
    Notification.objects.filter(pk=old.pk).update(read_at=timezone.now() - timedelta(hours=1))
    Notification.objects.filter(pk=new.pk).update(read_at=timezone.now())
    page = as_ana.get("/").content.decode()
    assert page.index("counted up") < page.index("failed once")


def test_a_failure_that_was_settled_is_not_shown_as_failed(people: Cast, as_ana: Client) -> None:
    """Under what was read it is one of the past."""
    email = failed(people)
    about = {"workspace": people.workspace, "member": people.ana, "message": email.message}
    Notification.objects.create(kind="failure", read_at=timezone.now(), **about)
    assert 'data-look="failed"' in as_ana.get("/").content.decode()
    as_ana.post(reverse("ignore_all", args=[email.message_id]))
    page = as_ana.get("/").content.decode()
    assert 'data-look="failed"' not in page
    assert "Failure, settled meanwhile" in page


def test_one_notification_is_marked_as_read(people: Cast, as_ana: Client) -> None:
    """The others stay."""
    one, other = _notify(people, "message", "one"), _notify(people, "message", "other")
    as_ana.post(reverse("mark_read"), {"ids": one.pk})
    one.refresh_from_db()
    other.refresh_from_db()
    assert one.read_at is not None
    assert other.read_at is None


def test_all_are_marked_as_read_at_once(people: Cast, as_ana: Client, as_olga: Client) -> None:
    """Mine, nobody else's."""
    mine = _notify(people, "message", "one")
    as_olga.post(reverse("mark_read"))
    mine.refresh_from_db()
    assert mine.read_at is None
    as_ana.post(reverse("mark_read"))
    assert "Nothing new" in as_ana.get("/").content.decode()


def test_the_count_stands_in_the_top_bar(people: Cast, as_ana: Client) -> None:
    """On every page."""
    _notify(people, "message", "one")
    assert 'Inbox <b class="">1</b>' in as_ana.get("/records").content.decode()
