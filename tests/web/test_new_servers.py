"""A server that was just added: in use once its test is good, and removed as long as it carried nothing."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from postroom.outgoing.models import MailServer
from tests.flows.servers import server_at
from tests.people import Cast
from tests.smtp.beside import beside
from tests.smtp.scripted import ScriptedRelay
from tests.web.test_servers import FILLED, text_of

LOCAL = {**FILLED, "host": "127.0.0.1", "encryption": "none", "user": "", "password": ""}


def added(people: Cast, client: Client, script: ScriptedRelay) -> tuple[MailServer, str]:
    """The row, and its page as it is shown after the redirect."""
    with beside(script):
        typed = {**LOCAL, "port": str(script.port), "test": "yes"}
        answer = client.post(reverse("new_server"), typed, follow=True)
    row = MailServer.objects.get(workspace=people.workspace)
    assert answer.redirect_chain == [(reverse("server", args=[row.pk]), 302)]
    return row, text_of(answer)


def test_a_new_server_that_fails_its_test_is_kept_out_of_use(people: Cast, as_olga: Client) -> None:
    row, page = added(people, as_olga, ScriptedRelay({"MAIL": b"553 5.7.1 no\r\n"}))
    assert not row.is_active
    assert "saved but not in use, because its test failed" in page
    assert "The test failed. Nothing was sent." in page
    assert "Use it anyway" in page
    as_olga.post(reverse("unarchive_server", args=[row.pk]))
    row.refresh_from_db()
    assert row.is_active
    assert "The test failed" not in text_of(as_olga.get(reverse("server", args=[row.pk])))


def test_a_new_server_whose_test_is_good_is_in_use(people: Cast, as_olga: Client) -> None:
    row, page = added(people, as_olga, ScriptedRelay())
    assert row.is_active
    assert "does not prove that mail arrives" in page


def test_a_server_that_never_carried_mail_can_be_removed(people: Cast, as_olga: Client) -> None:
    row = server_at(people, 25)
    assert "Remove this server" in text_of(as_olga.get(reverse("server", args=[row.pk])))
    as_olga.post(reverse("remove_server", args=[row.pk]))
    assert not MailServer.objects.filter(pk=row.pk).exists()


def test_a_member_tests_their_own_server_and_is_offered_no_certificate(people: Cast, as_ana: Client) -> None:
    script = ScriptedRelay()
    with beside(script):
        server = server_at(people, script.port)
        MailServer.objects.filter(pk=server.pk).update(owner=people.ana)
        page = as_ana.post(reverse("own_server"), {"try": "yes"})
    assert "does not prove that mail arrives" in text_of(page)
    assert 'value="certificate"' not in page.content.decode()
