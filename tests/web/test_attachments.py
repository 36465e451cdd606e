"""Files are handed out as downloads that cannot do anything."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Attachment, Record
from postroom.conversations.storage import Upload
from postroom.workspaces import parameters, tokens
from tests.people import Cast
from tests.web.mail import said


def _attachment(people: Cast, name: str, content_type: str, content: bytes) -> Attachment:
    return said(people, attachments=[Upload(name, content_type, content)]).attachments.get()


def test_a_page_that_was_sent_is_downloaded_and_never_shown(people: Cast, as_ana: Client) -> None:
    """Somebody else's HTML does not run under our name."""
    file = _attachment(people, "invoice.html", "text/html", b"<script>1</script>")
    answer = as_ana.get(reverse("attachment", args=[file.pk]))
    assert answer.getvalue() == b"<script>1</script>"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="invoice.html"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_a_file_the_storage_has_lost_is_not_there(people: Cast, as_ana: Client) -> None:
    """404, no error."""
    file = _attachment(people, "a.txt", "text/plain", b"x")
    Attachment.objects.filter(pk=file.pk).update(digest="f" * 64)
    assert as_ana.get(reverse("attachment", args=[file.pk])).status_code == 404


@pytest.fixture
def linked(people: Cast) -> tuple[Attachment, str]:
    """A file, and the path of a link to it that was made with its message."""
    file = _attachment(people, "plan é.html", "text/html", b"<script>1</script>")
    made_at = int(file.message.created_at.timestamp())
    return file, f"/d/{tokens.links().download(file.pk, made_at)}"


def test_whoever_has_the_link_gets_the_file_and_no_cookie(linked: tuple[Attachment, str]) -> None:
    answer = Client().get(linked[1])
    assert answer.getvalue() == b"<script>1</script>"
    assert dict(answer.cookies) == {}
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''plan%20%C3%A9.html")
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert "no-store" in answer.headers["Cache-Control"]


def not_there(path: str) -> bool:
    answer = Client().get(path)
    assert dict(answer.cookies) == {}
    return answer.status_code == 404 and b"This link does not work" in answer.content


def test_a_link_works_for_as_many_days_as_the_parameter_says(
    people: Cast, linked: tuple[Attachment, str]
) -> None:
    file, _ = linked
    made_at = datetime.now(UTC) - timedelta(days=2)
    path = f"/d/{tokens.links().download(file.pk, int(made_at.timestamp()))}"
    parameters.put(people.workspace.pk, "mail.attachment.link_days", "3")
    assert Client().get(path).getvalue() == b"<script>1</script>"
    parameters.put(people.workspace.pk, "mail.attachment.link_days", "2")
    assert not_there(path)


def test_links_end_with_the_reply_address_and_later_ones_work(
    people: Cast, linked: tuple[Attachment, str]
) -> None:
    file, path = linked
    revoked_at = datetime.now(UTC) + timedelta(seconds=1)
    Record.objects.filter(pk=people.record.pk).update(reply_address_revoked_at=revoked_at)
    assert not_there(path)
    later = int((revoked_at + timedelta(seconds=5)).timestamp())
    answer = Client().get(f"/d/{tokens.links().download(file.pk, later)}")
    assert answer.getvalue() == b"<script>1</script>"


def test_links_end_with_the_message(linked: tuple[Attachment, str]) -> None:
    file, path = linked
    file.message.delete()
    assert not_there(path)


def test_a_link_whose_file_the_storage_has_lost_says_so(linked: tuple[Attachment, str]) -> None:
    file, path = linked
    Attachment.objects.filter(pk=file.pk).update(digest="f" * 64)
    assert not_there(path)


@pytest.mark.django_db
@pytest.mark.parametrize("token", ["x", "a" * 300, "%0d%0aX: y", "AQEH" + "A" * 22])
def test_a_guess_is_not_there(token: str) -> None:
    assert not_there(f"/d/{token}")


def test_nothing_is_changed_through_a_link(linked: tuple[Attachment, str]) -> None:
    assert Client().post(linked[1]).status_code == 405
