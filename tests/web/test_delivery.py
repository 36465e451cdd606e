"""The failure panel."""

from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Contact
from postroom.outgoing.models import Email, FailureKind, State
from tests.people import Cast, join
from tests.web.conftest import Browse
from tests.web.mail import UNKNOWN_USER, fail, failed, said

HTMX = {"HX-Request": "true"}


def test_a_failure_is_said_in_plain_words_with_the_servers_own_one_click_away(
    people: Cast, as_ana: Client
) -> None:
    """And the toggle Try Again is on."""
    email = failed(people)
    page = as_ana.get(reverse("delivery", args=[email.message_id])).content.decode()
    assert "There is no such mailbox at the recipient&#x27;s server." in page
    assert "Trying again without a change will not help." in page
    assert "See Error Details" in page
    assert "550 5.1.1 &lt;ben@example.org&gt;: Recipient address rejected" in page
    assert f'name="again" value="{email.pk}" checked' in page
    assert UNKNOWN_USER not in page  # it is escaped


def test_what_may_have_arrived_is_not_tried_again_unless_somebody_ticks_it(
    people: Cast, as_ana: Client
) -> None:
    """And the panel says why the tick is missing."""
    email = fail(said(people).emails.get(), FailureKind.UNCERTAIN, "")
    page = as_ana.get(reverse("delivery", args=[email.message_id])).content.decode()
    assert f'name="again" value="{email.pk}">' in page
    assert "Try Again is not ticked, because it may have arrived." in page


def test_the_panel_says_that_the_contact_keeps_the_old_address(people: Cast, as_ana: Client) -> None:
    """Unless its box is ticked as well."""
    page = as_ana.get(reverse("delivery", args=[failed(people).message_id])).content.decode()
    assert "the next one goes to the old address" in page


def test_the_panel_is_a_piece_of_the_page_for_htmx(people: Cast, as_ana: Client) -> None:
    """And a page of its own without."""
    path = reverse("delivery", args=[failed(people).message_id])
    assert "<html" not in as_ana.get(path, headers=HTMX).content.decode()
    assert "<html" in as_ana.get(path).content.decode()


def test_send_and_close_sends_to_the_corrected_address(people: Cast, as_ana: Client) -> None:
    """The contact keeps the old one unless its box is ticked."""
    email = failed(people)
    fields = {"shown": email.pk, "again": email.pk, f"address-{email.pk}": "ben.ortiz@example.org"}
    answer = as_ana.post(reverse("send_and_close", args=[email.message_id]), fields)
    assert answer.headers["Location"].endswith(f"#message-{email.message_id}")
    email.refresh_from_db()
    assert (email.state, email.address.addr_spec) == (State.OUTGOING, "ben.ortiz@example.org")
    assert Contact.objects.get(pk=people.ben.pk).addr_spec == "ben@example.org"


def test_the_contact_is_corrected_too_if_its_box_is_ticked(people: Cast, as_ana: Client) -> None:
    """So that the next message goes there as well."""
    email = failed(people)
    fields = {"shown": email.pk, "again": email.pk, "update": email.pk}
    fields[f"address-{email.pk}"] = "ben.ortiz@example.org"  # type: ignore[assignment]
    as_ana.post(reverse("send_and_close", args=[email.message_id]), fields)
    assert Contact.objects.get(pk=people.ben.pk).addr_spec == "ben.ortiz@example.org"


def test_who_is_not_to_be_tried_again_is_settled(people: Cast, as_ana: Client) -> None:
    """Toggled off means: leave it, and the envelope is red no more."""
    email = failed(people)
    as_ana.post(reverse("send_and_close", args=[email.message_id]), {"shown": email.pk})
    email.refresh_from_db()
    assert not email.is_failing
    assert email.state != State.OUTGOING


def test_a_wrong_correction_is_refused_in_the_panel(people: Cast, as_ana: Client) -> None:
    """Nothing is sent."""
    email = failed(people)
    fields = {"shown": email.pk, "again": email.pk, f"address-{email.pk}": "ben at example"}
    answer = as_ana.post(reverse("send_and_close", args=[email.message_id]), fields)
    assert answer.status_code == 422
    assert "is not an email address" in answer.content.decode()
    email.refresh_from_db()
    assert email.state == State.FAILED


def test_ignore_all_settles_every_failure_of_the_message(people: Cast, as_ana: Client) -> None:
    """The envelope is no longer red."""
    email = failed(people)
    as_ana.post(reverse("ignore_all", args=[email.message_id]))
    email.refresh_from_db()
    assert email.ignored_at is not None


def test_only_those_concerned_may_correct_an_address(people: Cast, browse: Browse) -> None:
    """A colleague who is neither author, responsible nor administrator is not offered the field."""
    email = failed(people)
    colleague = browse(join(people.workspace, "colleague@demo.example", "Colleague"))
    page = colleague.get(reverse("delivery", args=[email.message_id])).content.decode()
    assert f'name="address-{email.pk}"' not in page
    fields = {"shown": email.pk, "again": email.pk, f"address-{email.pk}": "evil@example.net"}
    colleague.post(reverse("send_and_close", args=[email.message_id]), fields)
    assert Email.objects.get(pk=email.pk).address.addr_spec == "ben@example.org"


def test_those_who_got_it_are_listed_with_the_way_to_why(people: Cast, as_ana: Client) -> None:
    """Each recipient has an answer."""
    message = said(people)
    page = as_ana.get(reverse("delivery", args=[message.pk])).content.decode()
    assert f"/why?message={message.pk}&amp;address=ben%40example.org" in page


def test_the_icon_asks_again_only_while_something_waits(people: Cast, as_ana: Client) -> None:
    """A settled envelope is quiet."""
    message = said(people)
    assert "hx-trigger" in as_ana.get(reverse("delivery_icon", args=[message.pk])).content.decode()
    email = failed(people)
    assert "hx-trigger" not in as_ana.get(reverse("delivery_icon", args=[email.message_id])).content.decode()
