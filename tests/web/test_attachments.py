"""Files are handed out as downloads that cannot do anything."""

from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Attachment
from postroom.conversations.storage import Upload
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
