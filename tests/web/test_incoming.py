"""The incoming log."""

from django.test import Client
from django.urls import reverse

from postroom.incoming.models import ReceivedEmail
from tests.people import Cast


def _refusal(people: Cast | None, **fields: object) -> ReceivedEmail:
    return ReceivedEmail.objects.create(
        workspace=people.workspace if people else None,
        source="smtp",
        state="refused",
        reverse_path="somebody@example.net",
        forward_path="nobody@demo.postroom.localhost",
        reply_code=550,
        reply_text="550 5.1.1 There is no such address here",
        **fields,
    )


def test_a_refusal_is_listed_with_what_we_said(people: Cast, as_ana: Client) -> None:
    """In the words that the sender's server got."""
    _refusal(people)
    page = as_ana.get("/incoming?state=refused").content.decode()
    assert "550 5.1.1 There is no such address here" in page
    assert "somebody@example.net" not in as_ana.get("/incoming?state=posted").content.decode()


def test_a_line_opens_with_all_it_holds(people: Cast, as_ana: Client) -> None:
    """And links to the record it went to."""
    mail = _refusal(people, record=people.record, message_id_header="<x@y>", helo="mx.example.net")
    page = as_ana.get(reverse("received", args=[mail.pk])).content.decode()
    assert "<code>550 5.1.1 There is no such address here</code>" in page
    assert "mx.example.net" in page
    assert reverse("record", args=[people.record.pk]) in page


def test_mail_for_nobody_here_is_shown_to_operators_alone(
    people: Cast, as_ana: Client, as_olga: Client
) -> None:
    """It belongs to no workspace."""
    mail = _refusal(None)
    assert as_ana.get(reverse("received", args=[mail.pk])).status_code == 404
    assert as_olga.get(reverse("received", args=[mail.pk])).status_code == 200


def test_the_log_is_searched(people: Cast, as_ana: Client) -> None:
    """By address, subject or Message-ID."""
    _refusal(people, subject="Lamps", message_id_header="<abc@example.net>")
    for wanted in ("somebody@", "lamps", "<abc@example.net>"):
        assert "somebody@example.net" in as_ana.get("/incoming", {"q": wanted}).content.decode()
    assert "Nothing matches" in as_ana.get("/incoming?q=bicycle").content.decode()
