"""The way in."""

import email
import email.policy

from django.conf import settings
from django.test import Client, override_settings
from django.urls import reverse

from postroom.conversations.models import Message
from postroom.diagnostics.models import Event
from postroom.flows import housekeeping, retrying
from postroom.outgoing.models import Email, MailServer, Rendition
from postroom.workspaces import logins
from tests.people import PASSWORD, Cast, cast


def test_nobody_signs_up(db: None, client: Client) -> None:
    """Members are invited."""
    fields = {"email": "new@example.net", "password1": "a lamp in the window"}
    for answer in (client.get(reverse("account_signup")), client.post(reverse("account_signup"), fields)):
        assert "By invitation" in answer.content.decode()


def test_a_login_leads_to_the_inbox(people: Cast, client: Client) -> None:
    """With address and password."""
    answer = client.post(reverse("account_login"), {"login": "ana@demo.example", "password": PASSWORD})
    assert answer.headers["Location"] == "/"


def test_a_login_leads_back_to_the_page_that_was_wanted(people: Cast, client: Client) -> None:
    """Links in mails do."""
    wanted = reverse("record", args=[people.record.pk])
    login = client.get(wanted).headers["Location"]
    assert f'value="{wanted}"' in client.get(login).content.decode()


def test_guessing_passwords_is_slowed_down(people: Cast, client: Client) -> None:
    """After five wrong ones even the right one has to wait."""
    fields = {"login": "ana@demo.example", "password": "wrong"}
    for _ in range(5):
        client.post(reverse("account_login"), fields)
    answer = client.post(reverse("account_login"), {**fields, "password": PASSWORD})
    assert answer.status_code == 200
    assert "Too many failed login attempts" in answer.content.decode()


def test_logging_out_takes_a_post(people: Cast, as_ana: Client) -> None:
    """A link on somebody's page logs nobody out."""
    as_ana.get(reverse("account_logout"))
    assert as_ana.get("/").status_code == 200
    as_ana.post(reverse("account_logout"))
    assert as_ana.get("/").status_code == 302


def test_a_password_is_set_anew_through_a_mailed_link(people: Cast, client: Client) -> None:
    """The link leads to the address people open, whatever the Host header said."""
    client.post(
        reverse("account_reset_password"), {"email": "ana@demo.example"}, headers={"host": "evil.example"}
    )
    letter = email.message_from_bytes(bytes(Rendition.objects.get().octets), policy=email.policy.default)
    link = next(word for word in letter.get_content().split() if word.startswith("http"))
    assert link.startswith(settings.POSTROOM_BASE_URL)
    assert (letter["Auto-Submitted"], letter["X-Auto-Response-Suppress"]) == (
        "auto-generated",
        "OOF, AutoReply",
    )
    page = client.get(link.removeprefix(settings.POSTROOM_BASE_URL), follow=True).content.decode()
    assert "Set your password" in page


def test_a_link_to_a_new_password_leaves_over_the_shared_relay_alone(people: Cast, client: Client) -> None:
    """Whoever administers a workspace could read it on a server of theirs."""
    owned = {"host": "127.0.0.1", "port": 1, "workspace": people.workspace}
    MailServer.objects.create(name="theirs", from_filter=str(people.domain), **owned)
    MailServer.objects.create(name="hers", owner=people.ana, **owned)
    client.post(reverse("account_reset_password"), {"email": "ana@demo.example"})
    mail = Email.objects.select_related("lane__server").get()
    assert mail.lane.server.is_shared
    Event.objects.all().delete()  # how it was routed is forgotten in time
    retrying.cancel([mail.pk], people.olga)
    assert retrying.retry([mail.pk], people.olga) == 1
    assert Email.objects.select_related("lane__server").get().lane.server.is_shared


def test_without_a_shared_relay_the_page_names_who_has_the_link(people: Cast, client: Client) -> None:
    """The mail waits for the relay, and an operator can make a link by hand."""
    page = reverse("account_reset_password_done")
    assert "postroom user reset-link" in client.get(page).content.decode()
    with override_settings(POSTROOM_RELAY_URL="smtp://relay.example"):
        assert "postroom user reset-link" not in client.get(page).content.decode()


def test_nobody_learns_who_has_a_login(people: Cast, client: Client) -> None:
    """The page says the same for both."""
    answers = [
        client.post(reverse("account_reset_password"), {"email": address}, follow=True).content
        for address in ("ana@demo.example", "stranger@example.net")
    ]
    assert answers[0] == answers[1]


def test_nobody_reads_the_link_of_somebody_else(people: Cast, client: Client) -> None:
    """It stays in the person's own workspace, which keeps the subject; the octets go once it is sent."""
    neighbours = cast("neighbour")
    client.post(reverse("account_reset_password"), {"email": "ana@neighbour.example"})
    message = Message.objects.get()
    assert message.workspace == neighbours.workspace
    assert message.text.strip() == message.subject == "Your link to a new password"
    assert "http" not in message.body
    assert housekeeping.drop_secrets() == 0
    Email.objects.update(state="sent")
    assert housekeeping.drop_secrets() == 1
    assert Email.objects.get().rendition is None


def test_a_login_without_a_workspace_gets_no_link(people: Cast, client: Client) -> None:
    """There is nothing it could log in to, and no workspace that may hold its mail."""
    logins.make_user("nobody@example.net", PASSWORD)
    client.post(reverse("account_reset_password"), {"email": "nobody@example.net"})
    assert not Message.objects.exists()
