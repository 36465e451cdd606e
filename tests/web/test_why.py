"""Why?"""

from django.test import Client
from django.urls import reverse

from tests.people import Cast
from tests.web.mail import failed, said


def test_the_answer_is_a_verdict_who_must_act_and_the_steps(people: Cast, as_ana: Client) -> None:
    """From the follower rule to the server's reply."""
    email = failed(people)
    page = as_ana.get(f"/why?message={email.message_id}&address=ben@example.org").content.decode()
    assert "Delivery Failed." in page
    assert "Who must act" in page
    assert "Told as a follower" in page
    assert "Recipient address rejected" in page


def test_a_message_is_found_by_its_message_id(people: Cast, as_ana: Client) -> None:
    """With or without its angle brackets."""
    message = said(people)
    for wanted in (message.message_id, message.message_id.strip("<>")):
        page = as_ana.get("/why", {"message": wanted}).content.decode()
        assert "ben@example.org" in page


def test_an_address_alone_lists_its_emails(people: Cast, as_ana: Client) -> None:
    """To choose from."""
    message = said(people)
    page = as_ana.get("/why?address=BEN@example.org").content.decode()
    assert f"/why?message={message.pk}&amp;" in page


def test_somebody_who_was_never_told_gets_an_answer_too(people: Cast, as_ana: Client) -> None:
    """Carla follows nothing."""
    message = said(people)
    page = as_ana.get(f"/why?message={message.pk}&address=carla@example.com").content.decode()
    assert "Never told" in page


def test_messages_of_neighbours_are_unknown(neighbours: Cast, as_ana: Client) -> None:
    """By number and by Message-ID."""
    message = said(neighbours)
    for wanted in (str(message.pk), message.message_id):
        assert "Nothing found" in as_ana.get("/why", {"message": wanted}).content.decode()


def test_who_may_not_read_the_log_is_shown_whom_to_ask(people: Cast, as_ana: Client, as_olga: Client) -> None:
    """Beside the answer, and beside the reason of a failure."""
    email = failed(people)
    query: dict[str, str] = {"message": str(email.message_id), "address": "ben@example.org"}
    for url in (reverse("why"), reverse("delivery", args=[email.message_id])):
        assert "Not enough? Whom to ask for the log" in as_ana.get(url, query).content.decode()
        assert "Whom to ask" not in as_olga.get(url, query).content.decode()
