"""The pages of outgoing servers, and Test Connection on them."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from postroom.outgoing import allowances, relays
from postroom.outgoing.models import Allowance, MailServer
from postroom.workspaces.models import Member, Role
from tests.flows.servers import server_at
from tests.people import Cast
from tests.smtp.beside import beside
from tests.smtp.scripted import ScriptedRelay
from tests.web.conftest import Browse
from tests.web.mail import waiting

PASSWORD = "geheim-4711-ünique"
FILLED = {
    "name": "Lamps", "priority": "5", "from_filter": "lamps.example", "host": "smtp.lamps.example",
    "encryption": "starttls", "port": "", "is_certificate_checked": "on", "authentication": "login",
    "user": "ana", "password": PASSWORD, "connection_limit": "4", "limit_per_minute": "30",
}  # fmt: skip


def text_of(response: Any) -> str:
    """What a person reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


@pytest.fixture
def as_admin(people: Cast, browse: Browse) -> Client:
    """Ana as an administrator who is no operator."""
    Member.objects.filter(pk=people.ana.pk).update(role=Role.ADMIN)
    return browse(people.ana)


def test_a_server_is_added_with_the_usual_port_of_its_encryption(people: Cast, as_admin: Client) -> None:
    assert as_admin.post(reverse("new_server"), FILLED).status_code == 302
    server = MailServer.objects.get(workspace=people.workspace)
    assert (server.host, server.port, server.user, server.password) == (
        "smtp.lamps.example", 587, "ana", PASSWORD,
    )  # fmt: skip
    assert (server.priority, server.limit_per_minute, server.is_certificate_checked) == (5, 30, True)
    page = text_of(as_admin.get(reverse("servers")))
    assert (
        "smtp.lamps.example:587 · TLS (STARTTLS) · From: lamps.example In use · 0 of 30 this minute" in page
    )


def test_the_certificate_is_checked_unless_somebody_switches_that_off(people: Cast, as_admin: Client) -> None:
    page = as_admin.get(reverse("new_server")).content.decode()
    assert re.search(r'name="is_certificate_checked"[^>]* checked', page)
    filled = {key: value for key, value in FILLED.items() if key != "is_certificate_checked"}
    as_admin.post(reverse("new_server"), filled)
    assert not MailServer.objects.get(workspace=people.workspace).is_certificate_checked
    assert "certificate not checked" in text_of(as_admin.get(reverse("servers")))


def test_an_empty_password_keeps_the_stored_one_and_no_username_drops_it(
    people: Cast, as_admin: Client
) -> None:
    server = server_at(people, 25, user="ana", password=PASSWORD, encryption="starttls")
    page = reverse("server", args=[server.pk])
    refused = as_admin.post(page, {**FILLED, "password": ""})
    assert (refused.status_code, "secret anew: Password" in text_of(refused)) == (422, True)
    as_admin.post(page, {**FILLED, "password": "new"})
    server.refresh_from_db()
    assert (server.host, server.password) == (FILLED["host"], "new")
    as_admin.post(page, {**FILLED, "password": "", "name": "Other"})
    server.refresh_from_db()
    assert (server.name, server.password) == ("Other", "new")
    as_admin.post(page, {**FILLED, "password": "newer"})
    server.refresh_from_db()
    assert server.password == "newer"
    as_admin.post(page, {**FILLED, "password": "new"})
    server.refresh_from_db()
    assert server.password == "new"
    as_admin.post(page, {**FILLED, "password": "", "user": ""})
    server.refresh_from_db()
    assert server.password == ""


SECRET = "-----BEGIN PRIVATE KEY----- nobody reads this"


def test_no_secret_is_ever_in_a_response(people: Cast, as_olga: Client) -> None:
    """Not when it is typed, refused, stored, changed, tested or listed."""
    script = ScriptedRelay({"AUTH": b"535 5.7.8 " + PASSWORD.encode() + b"\r\n"}, offers=("AUTH PLAIN",))
    secrets = {"password": PASSWORD, "client_key": SECRET, "oauth_refresh_token": SECRET}
    with beside(script):
        typed = {**FILLED, **secrets, "encryption": "none", "host": "127.0.0.1", "port": str(script.port)}
        refused = as_olga.post(reverse("new_server"), {**typed, "name": ""})
        login = {**typed, "client_key": "", "oauth_refresh_token": "", "test": "yes"}
        answers = [refused, as_olga.post(reverse("new_server"), login, follow=True)]
        server = MailServer.objects.get(workspace=people.workspace)
        assert server.password == PASSWORD
        MailServer.objects.filter(pk=server.pk).update(client_key=SECRET, oauth=SECRET)
        answers += [
            as_olga.get(reverse("server", args=[server.pk])),
            as_olga.post(reverse("server", args=[server.pk]), {**typed, "port": "99999"}),
            as_olga.post(reverse("test_server", args=[server.pk])),
            as_olga.get(reverse("servers")),
        ]
    assert [answer.status_code for answer in answers] == [422, 200, 200, 422, 200, 200]
    for answer in answers:
        assert PASSWORD not in html.unescape(answer.content.decode())
        assert "nobody reads this" not in answer.content.decode()
    assert "Stored, and never shown again" in text_of(answers[2])


def test_the_test_shows_every_step_without_javascript(people: Cast, as_olga: Client) -> None:
    script = ScriptedRelay()
    with beside(script):
        server = server_at(people, script.port)
        page = text_of(as_olga.post(reverse("test_server", args=[server.pk])))
    assert "does not prove that mail arrives" in page
    assert "It takes mail for noreply@" in page
    assert script.contents == []


def test_a_test_that_fails_shows_the_remedy_and_what_the_server_said(people: Cast, as_olga: Client) -> None:
    script = ScriptedRelay({"MAIL": b"553 5.7.1 <b>no</b>\r\n"})
    with beside(script):
        server = server_at(people, script.port)
        answer = as_olga.post(reverse("test_server", args=[server.pk]))
    page = text_of(answer)
    assert "The test failed. Nothing was sent." in page
    assert "name in FROM Filtering what the server does let us send from" in page
    assert "553 5.7.1 &lt;b&gt;no&lt;/b&gt;" in answer.content.decode()
    assert "Not tried, because a step before it failed." in page


def test_testing_needs_a_post(people: Cast, as_olga: Client) -> None:
    server = server_at(people, 25)
    for name in ("test_server", "archive_server", "unarchive_server"):
        assert as_olga.get(reverse(name, args=[server.pk])).status_code == 405


def test_members_who_are_no_administrators_see_none_of_this(people: Cast, as_ana: Client) -> None:
    server = server_at(people, 25)
    for name in ("servers", "new_server"):
        assert as_ana.get(reverse(name)).status_code == 404
    assert as_ana.get(reverse("server", args=[server.pk])).status_code == 404
    for name in ("test_server", "archive_server", "unarchive_server"):
        assert as_ana.post(reverse(name, args=[server.pk])).status_code == 404


def test_a_neighbours_server_does_not_exist(people: Cast, neighbours: Cast, as_olga: Client) -> None:
    theirs = server_at(neighbours, 25, name="Theirs")
    assert "Theirs" not in text_of(as_olga.get(reverse("servers")))
    assert as_olga.get(reverse("server", args=[theirs.pk])).status_code == 404
    for name in ("test_server", "archive_server", "unarchive_server"):
        assert as_olga.post(reverse(name, args=[theirs.pk])).status_code == 404


def test_a_server_that_is_used_is_not_archived_and_the_page_says_by_what(
    people: Cast, as_admin: Client
) -> None:
    server = server_at(people, 25)
    lane = relays.lane_of(people.workspace, "urgent", server)
    email = waiting(people)
    type(email).objects.filter(pk=email.pk).update(lane=lane)
    answer = as_admin.post(reverse("archive_server", args=[server.pk]), follow=True)
    assert "1 email waits for it" in text_of(answer)
    assert "Used by" in text_of(answer)
    server.refresh_from_db()
    assert server.is_active
    type(email).objects.filter(pk=email.pk).update(state="cancelled")
    as_admin.post(reverse("archive_server", args=[server.pk]))
    server.refresh_from_db()
    assert not server.is_active
    assert "Archived: it carries no mail." in text_of(as_admin.get(reverse("servers")))
    as_admin.post(reverse("unarchive_server", args=[server.pk]))
    server.refresh_from_db()
    assert server.is_active


def test_a_server_that_is_left_alone_says_until_when_and_why(people: Cast, as_admin: Client) -> None:
    server = server_at(people, 25)
    until = timezone.now() + timedelta(minutes=4)
    MailServer.objects.filter(pk=server.pk).update(
        down_until=until, down_because="server_unreachable", last_failure="421 <later>"
    )
    answer = as_admin.get(reverse("servers"))
    assert "Left alone because" in text_of(answer)
    assert until.isoformat(timespec="seconds") in answer.content.decode()
    assert "421 &lt;later&gt;" in answer.content.decode()


def test_the_use_of_its_limits_is_shown(people: Cast, as_admin: Client) -> None:
    server, now = server_at(people, 25, limit_per_day=100), timezone.now()
    start = allowances.window_start(Allowance.Unit.DAY, now)
    Allowance.objects.create(server=server, unit="day", starts_at=start, used_count=7)
    Allowance.objects.create(server=server, unit="day", starts_at=start - timedelta(days=1), used_count=99)
    assert "7 of 100 today (UTC)" in text_of(as_admin.get(reverse("servers")))


def test_operators_change_how_much_the_shared_relay_is_given_and_nothing_else(
    people: Cast, as_olga: Client, as_admin: Client, settings: Any
) -> None:
    settings.POSTROOM_RELAY_URL = "smtps://relay:geheim@relay.example"
    shared = relays.shared_server()
    server_at(people, 25, name="Anything else", priority=0)
    page = reverse("server", args=[shared.pk])
    listed = text_of(as_olga.get(reverse("servers")))
    assert "relay.example:465 · SSL/TLS · set by RELAY_URL" in listed
    assert listed.index("Shared relay") < listed.index("Anything else")
    assert "relay.example" not in text_of(as_admin.get(reverse("servers")))
    as_olga.post(page, {"connection_limit": "3", "limit_per_hour": "500", "host": "evil.example"})
    shared.refresh_from_db()
    assert (shared.connection_limit, shared.limit_per_hour, shared.host) == (3, 500, "")
    assert as_admin.get(page).status_code == 200
    assert as_admin.post(page, {"connection_limit": "9"}).status_code == 404
    assert "geheim" not in as_olga.get(page).content.decode()


def test_what_cannot_work_is_refused_in_words(people: Cast, as_admin: Client) -> None:
    for change, words in (
        ({"from_filter": "not a domain!"}, "FROM Filtering cannot be read"),
        ({"host": "https://smtp.example.com"}, "like smtp.example.com"),
        ({"authentication": "certificate"}, "as PEM texts"),
        ({"oauth_client_id": "x"}, "This is needed, too"),
        ({"connection_limit": "0"}, "from 1 to"),
    ):
        answer = as_admin.post(reverse("new_server"), {**FILLED, **change})
        assert answer.status_code == 422
        assert words in text_of(answer)
    assert not MailServer.objects.filter(workspace=people.workspace).exists()


def test_an_administrator_sets_up_a_personal_server_which_keeps_its_owner(
    people: Cast, neighbours: Cast, as_olga: Client
) -> None:
    assert as_olga.post(reverse("new_server"), {**FILLED, "owner": neighbours.ana.pk}).status_code == 422
    as_olga.post(reverse("new_server"), {**FILLED, "owner": people.ana.pk})
    server = MailServer.objects.get(owner=people.ana)
    as_olga.post(reverse("server", args=[server.pk]), {**FILLED, "owner": people.olga.pk})
    server.refresh_from_db()
    assert server.owner == people.ana


def test_a_member_has_a_server_of_their_own(people: Cast, as_ana: Client, as_olga: Client) -> None:
    page = reverse("own_server")
    assert page in as_ana.get(reverse("preferences")).content.decode()
    assert "owner" not in str(as_ana.get(page).context["form"].fields)
    as_ana.post(page, {**FILLED, "owner": people.olga.pk, "is_for_campaigns": "on", "priority": "1"})
    server = MailServer.objects.get(workspace=people.workspace)
    assert (server.owner, server.is_for_campaigns, server.priority) == (people.ana, False, 10)
    as_ana.post(page, {**FILLED, "name": "Mine", "password": ""})
    server.refresh_from_db()
    assert (server.name, server.password) == ("Mine", PASSWORD)
    assert PASSWORD not in as_ana.get(page).content.decode()
    assert "personal server of ana@demo.example" in text_of(as_olga.get(reverse("servers")))
    assert "Mine" not in text_of(as_olga.get(page))
    as_ana.post(page, {"archive": "yes"})
    server.refresh_from_db()
    assert not server.is_active


def test_a_secret_whose_key_is_gone_is_asked_for_again(people: Cast, as_admin: Client) -> None:
    from django.db import connection

    server = server_at(people, 25, user="ana", password=PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE postroom_mailserver SET password = 'broken' WHERE id = %s", [server.pk])
    page = reverse("server", args=[server.pk])
    assert as_admin.get(reverse("servers")).status_code == 200
    assert "Enter it anew" in text_of(as_admin.post(page, {**FILLED, "password": ""}))
    assert as_admin.post(page, FILLED).status_code == 302
    assert MailServer.objects.get(pk=server.pk).password == PASSWORD


TOKEN = "geheim-4711"
ACCOUNT = {
    "name": "Post", "priority": "10", "connection_limit": "4", "esp_server_token": TOKEN,
    "esp_message_stream": "notes",
}  # fmt: skip


def test_an_account_at_a_provider_is_chosen_first_and_then_asked_for_what_that_needs(
    people: Cast, as_admin: Client
) -> None:
    page = as_admin.get(reverse("new_server"))
    assert "Postmark (its API)" in text_of(page)
    assert "Postal" not in text_of(page)  # it has no hosts that we know
    form = as_admin.get(reverse("new_server"), {"esp": "postmark"})
    assert "Server API token" in text_of(form)
    assert "SMTP Server" not in text_of(form)
    assert "api_url" not in form.content.decode()
    missing = as_admin.post(reverse("new_server") + "?esp=postmark", {**ACCOUNT, "esp_server_token": ""})
    assert missing.status_code == 422
    answer = as_admin.post(reverse("new_server") + "?esp=postmark", ACCOUNT)
    assert answer.status_code == 302, text_of(answer)
    server = MailServer.objects.get(workspace=people.workspace)
    assert (server.transport, server.esp) == ("esp", "postmark")
    assert json.loads(server.esp_options) == {"server_token": TOKEN, "message_stream": "notes"}
    assert "Postmark (its API) · From: any In use" in text_of(as_admin.get(reverse("servers")))


def test_the_key_of_an_account_is_never_shown_and_stays_unless_it_is_entered_anew(
    people: Cast, as_admin: Client
) -> None:
    as_admin.post(reverse("new_server") + "?esp=postmark", ACCOUNT)
    server = MailServer.objects.get(workspace=people.workspace)
    page = reverse("server", args=[server.pk])
    shown = as_admin.get(page).content.decode()
    assert TOKEN not in shown
    assert 'value="notes"' in shown
    assert "Leave it empty to keep it" in shown
    changed = {**ACCOUNT, "esp_server_token": "", "esp_message_stream": ""}
    assert as_admin.post(page, changed).status_code == 302
    server.refresh_from_db()
    assert json.loads(server.esp_options) == {"server_token": TOKEN}


def test_an_account_cannot_be_tested_without_sending_and_the_page_says_so(
    people: Cast, as_admin: Client
) -> None:
    as_admin.post(reverse("new_server") + "?esp=postmark", ACCOUNT)
    server = MailServer.objects.get(workspace=people.workspace)
    page = as_admin.post(reverse("test_server", args=[server.pk]))
    assert "cannot be tested without sending" in text_of(page)
    assert "Server API token" in text_of(page)


def test_a_field_that_nobody_is_asked_for_leads_no_call_elsewhere(people: Cast, as_admin: Client) -> None:
    where = {"esp_api_url": "http://169.254.169.254/"}
    as_admin.post(reverse("new_server") + "?esp=postmark", {**ACCOUNT, **where})
    assert "169.254" not in MailServer.objects.get(workspace=people.workspace).esp_options
