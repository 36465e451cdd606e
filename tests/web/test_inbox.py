"""The inbox."""

from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Notification
from tests.people import Cast
from tests.web.mail import said


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
