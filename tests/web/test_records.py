"""Records and their conversation."""

from datetime import timedelta

from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Contact, Follower, Message
from postroom.flows.recording import put_record
from tests.people import Cast
from tests.web.mail import failed, said


def _page(client: Client, people: Cast) -> str:
    return client.get(reverse("record", args=[people.record.pk])).content.decode()


def test_a_record_is_found_by_a_piece_of_its_title(people: Cast, as_ana: Client) -> None:
    """And by nothing else."""
    assert "SO042 Desk lamps" in as_ana.get("/records?q=desk+LAMP").content.decode()
    assert "Nothing matches" in as_ana.get("/records?q=bicycle").content.decode()


def test_only_records_of_the_own_workspace_are_listed(neighbours: Cast, as_ana: Client) -> None:
    """Both workspaces have an SO042."""
    put_record(neighbours.workspace, "sale.order", "S1", title="Their secret", by=None)
    assert "Their secret" not in as_ana.get("/records").content.decode()


def test_the_chatter_says_what_was_said(people: Cast, as_ana: Client) -> None:
    """With its author, and the record's link and responsible."""
    put_record(people.workspace, "sale.order", "SO042", title="SO042", url="https://erp.example/42", by=None)
    said(people, "The driver calls ahead.")
    page = _page(as_ana, people)
    assert "The driver calls ahead." in page
    assert "https://erp.example/42" in page
    assert "Ana Pop" in page


def test_a_note_says_that_it_is_internal(people: Cast, as_ana: Client) -> None:
    """In words, not by its ground alone."""
    said(people, "Keep this inside.", subtype_key="note")
    assert "internal note" in _page(as_ana, people)


def test_messages_of_one_author_within_five_minutes_share_a_header(people: Cast, as_ana: Client) -> None:
    """A third one, later, has its own again."""
    first, second, third = (said(people, words) for words in ("one", "two", "three"))
    Message.objects.filter(pk=third.pk).update(created_at=first.created_at + timedelta(minutes=9))
    Message.objects.filter(pk=second.pk).update(created_at=first.created_at + timedelta(seconds=2))
    assert _page(as_ana, people).count("continued") == 1


def test_quoted_mail_is_folded(people: Cast, as_ana: Client) -> None:
    """One click away."""
    message = said(people)
    Message.objects.filter(pk=message.pk).update(body="<p>new</p><blockquote><p>old</p></blockquote>")
    assert '<details class="quoted"><summary>Quoted text</summary><blockquote>' in _page(as_ana, people)


def test_the_envelope_of_a_failed_message_is_red_and_says_so(people: Cast, as_ana: Client) -> None:
    """State and words, never the colour alone."""
    failed(people)
    page = _page(as_ana, people)
    assert 'data-state="failed"' in page
    assert "1 of 1 failed" in page


def test_a_follower_is_added_by_address(people: Cast, as_ana: Client) -> None:
    """A contact is made if there was none."""
    fields = {"address": "Dana@Example.net", "name": "Dana Rus"}
    as_ana.post(reverse("add_follower", args=[people.record.pk]), fields)
    follower = Follower.objects.get(record=people.record, contact__address__addr_spec="dana@example.net")
    assert follower.contact.name == "Dana Rus"


def test_a_wrong_address_is_refused_with_what_to_write(people: Cast, as_ana: Client) -> None:
    """And nobody follows."""
    answer = as_ana.post(reverse("add_follower", args=[people.record.pk]), {"address": "dana"})
    assert answer.status_code == 422
    assert "name@example.com" in answer.content.decode()
    assert not Contact.objects.filter(name="dana").exists()


def test_a_follower_is_removed(people: Cast, as_ana: Client) -> None:
    """Nobody else is."""
    as_ana.post(reverse("remove_follower", args=[people.record.pk, people.ben.pk]))
    assert {f.contact for f in people.record.followers.all()} == {people.ana_contact}


def test_a_follower_chooses_what_to_be_told(people: Cast, as_ana: Client) -> None:
    """Outsiders are never offered internal subtypes, and cannot be given them."""
    note = people.workspace.subtypes.get(key="note")
    path = reverse("choose_subtypes", args=[people.record.pk, people.ana_contact.pk])
    as_ana.post(path, {"subtypes": [note.pk]})
    assert list(people.record.followers.get(contact=people.ana_contact).subtypes.all()) == [note]
    as_ana.post(reverse("choose_subtypes", args=[people.record.pk, people.ben.pk]), {"subtypes": [note.pk]})
    assert not people.record.followers.get(contact=people.ben).subtypes.exists()


def test_the_chatter_costs_the_same_however_long_it_is(
    people: Cast, as_ana: Client, django_assert_max_num_queries: object
) -> None:
    """A fixed number of queries."""
    for number in range(12):
        said(people, f"Message {number}")
    with django_assert_max_num_queries(24):  # type: ignore[operator]
        _page(as_ana, people)


def test_reading_a_conversation_marks_its_messages_as_read(people: Cast, as_olga: Client) -> None:
    """But failures stay until they are settled."""
    from postroom.conversations.models import Notification

    message = said(people, named=[people.olga_contact])
    common = {"workspace": people.workspace, "member": people.olga, "message": message}
    Notification.objects.create(**common, kind="failure")
    _page(as_olga, people)
    unread = Notification.objects.filter(member=people.olga, read_at=None)
    assert [notification.kind for notification in unread] == ["failure"]
