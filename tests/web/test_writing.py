"""The composer."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Contact, Message
from postroom.outgoing.models import Email
from tests.people import Cast

HTMX = {"HX-Request": "true"}


def _post(client: Client, people: Cast, page: str = "post_message", **fields: object) -> object:
    fields = {"kind": "discussions", "body": "Monday is fine.", **fields}
    return client.post(reverse(page, args=[people.record.pk]), fields)


def test_a_message_goes_to_the_followers(people: Cast, as_ana: Client) -> None:
    """And the page comes back to it."""
    answer = _post(as_ana, people)
    message = Message.objects.get(record=people.record)
    assert answer.headers["Location"].endswith(f"#message-{message.pk}")  # type: ignore[attr-defined]
    assert message.author == people.ana_contact
    assert [email.contact for email in Email.objects.all()] == [people.ben]


def test_a_note_goes_to_nobody_outside(people: Cast, as_ana: Client) -> None:
    """Ben follows, but he is not of the house."""
    _post(as_ana, people, kind="note")
    assert not Email.objects.exists()


def test_what_is_written_is_shown_as_text(people: Cast, as_ana: Client) -> None:
    """Markup in it is harmless."""
    _post(as_ana, people, body="<script>alert(1)</script>")
    page = as_ana.get(reverse("record", args=[people.record.pk])).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_people_named_are_told_too(people: Cast, as_ana: Client) -> None:
    """With or without a name before the address."""
    _post(as_ana, people, named="Carla Stan <carla@example.com>, dana@example.net")
    told = set(Email.objects.values_list("address__addr_spec", flat=True))
    assert told == {"ben@example.org", "carla@example.com", "dana@example.net"}


@pytest.mark.parametrize("named", ["carla", "carla@example.com, dana", "@@", "a b@c"])
def test_a_name_without_an_address_is_refused(people: Cast, as_ana: Client, named: str) -> None:
    """What was written is still there to be corrected."""
    answer = _post(as_ana, people, named=named)
    assert answer.status_code == 422  # type: ignore[attr-defined]
    page = answer.content.decode()  # type: ignore[attr-defined]
    assert "Monday is fine." in page
    wrong = named.split(",")[-1].strip()
    assert f"“{wrong}” is not an email address." in page
    assert not Message.objects.filter(record=people.record).exists()


def test_an_empty_message_is_refused(people: Cast, as_ana: Client) -> None:
    """With the reason."""
    answer = _post(as_ana, people, body="  ")
    assert "Write something first." in answer.content.decode()  # type: ignore[attr-defined]


def test_an_outsider_named_on_a_note_is_asked_about_first(people: Cast, as_ana: Client) -> None:
    """Only a confirmation lets the note leave the house."""
    answer = _post(as_ana, people, kind="note", named="carla@example.com")
    assert answer.status_code == 422  # type: ignore[attr-defined]
    assert "This internal note would leave the house." in answer.content.decode()  # type: ignore[attr-defined]
    assert not Email.objects.exists()
    _post(as_ana, people, kind="note", named="carla@example.com", are_outsiders_confirmed="on")
    assert [email.contact for email in Email.objects.all()] == [people.carla]


def test_files_go_along(people: Cast, as_ana: Client) -> None:
    """And can be downloaded from the message."""
    _post(as_ana, people, attached=SimpleUploadedFile("list.txt", b"lamps", "text/plain"))
    file = Message.objects.get(record=people.record).attachments.get()
    assert (file.name, file.size) == ("list.txt", 5)


def test_bulk_is_a_choice(people: Cast, as_ana: Client) -> None:
    """Of the message, not of the record."""
    _post(as_ana, people, stream="bulk")
    assert Message.objects.get(record=people.record).stream == "bulk"


def test_the_preview_says_who_will_be_told_and_writes_nothing(people: Cast, as_ana: Client) -> None:
    """Not even a contact for an address that was only typed."""
    answer = _post(as_ana, people, "preview_message", named="new@example.net")
    page = answer.content.decode()  # type: ignore[attr-defined]
    assert "by email to ben@example.org" in page
    assert "by email to new@example.net" in page
    assert "Monday is fine." in page
    assert not Message.objects.filter(record=people.record).exists()
    assert not Contact.objects.filter(address__addr_spec="new@example.net").exists()


@pytest.mark.parametrize("page", ["preview_message", "post_message"])
def test_a_note_that_names_somebody_new_from_outside_asks_first(
    people: Cast, as_ana: Client, page: str
) -> None:
    """Their contact was made only to look, and is gone when the page is drawn."""
    answer = _post(as_ana, people, page, kind="note", named="new@example.net")
    shown = answer.content.decode()  # type: ignore[attr-defined]
    assert "new@example.net" in shown
    assert "would leave the house" in shown or "you will be asked to confirm" in shown
    assert not Contact.objects.filter(address__addr_spec="new@example.net").exists()


def test_a_file_that_has_to_be_chosen_again_is_named(people: Cast, as_ana: Client) -> None:
    """A page cannot fill in a file; it can say so."""
    file = SimpleUploadedFile("list.txt", b"lamps", "text/plain")
    answer = _post(as_ana, people, named="carla", attached=file)
    page = answer.content.decode()  # type: ignore[attr-defined]
    assert "Choose the files again, a browser does not keep them: list.txt" in page


def test_an_address_written_in_a_message_can_be_clicked(people: Cast, as_ana: Client) -> None:
    """What is sent stays as it was written."""
    _post(as_ana, people, body="See https://example.org/a?b=1&c=2.")
    page = as_ana.get(reverse("record", args=[people.record.pk])).content.decode()
    url = "https://example.org/a?b=1&amp;c=2"
    assert f'<a href="{url}" rel="noopener noreferrer nofollow">{url}</a>.' in page
    assert "<a " not in Message.objects.get(record=people.record).body


def test_the_preview_is_a_piece_of_the_page_for_htmx(people: Cast, as_ana: Client) -> None:
    """No second page inside the page."""
    path = reverse("preview_message", args=[people.record.pk])
    answer = as_ana.post(path, {"kind": "note", "body": "x"}, headers=HTMX)
    page = answer.content.decode()
    assert "<html" not in page
    assert "Nobody will be told" in page
