"""Pictures inside messages."""

from django.test import Client
from django.urls import reverse

from postroom.conversations.storage import Upload
from tests.people import Cast
from tests.web.mail import said

BODY = '<p>Look: <img alt="lamp" src="cid:lamp@here"> and cid:lamp@here</p>'


def test_a_picture_of_the_text_is_shown_in_the_conversation(people: Cast, as_ana: Client) -> None:
    """From the file, which only members get."""
    image = Upload("lamp.png", "image/png", b"\x89PNG", content_id="lamp@here")
    file = said(people, body=BODY, attachments=[image]).attachments.get()
    page = as_ana.get(reverse("record", args=[people.record.pk])).content.decode()
    assert f'src="{reverse("attachment", args=[file.pk])}"' in page
    assert "and cid:lamp@here" in page


def test_a_file_that_is_no_picture_is_not_shown_as_one(people: Cast, as_ana: Client) -> None:
    """Whatever the text says."""
    file = Upload("lamp.svg", "image/svg+xml", b"<svg/>", content_id="lamp@here")
    said(people, body=BODY, attachments=[file])
    page = as_ana.get(reverse("record", args=[people.record.pk])).content.decode()
    assert 'src="cid:lamp@here"' in page
