"""Outgoing servers over the API."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from postroom.flows.keys import make_key
from postroom.outgoing import relays
from postroom.outgoing.models import MailServer
from postroom.workspaces.models import Member, Role
from tests.api.conftest import Program
from tests.flows.servers import server_at
from tests.people import Cast, cast
from tests.smtp.beside import beside
from tests.smtp.scripted import ScriptedRelay
from tests.web.mail import waiting

pytestmark = pytest.mark.django_db
PASSWORD = "geheim-4711"
ADDED = {
    "name": "Lamps", "host": "smtp.lamps.example", "encryption": "tls", "user": "ana", "password": PASSWORD,
    "from_filter": "lamps.example", "priority": 5, "limit_per_hour": 100,
}  # fmt: skip


@pytest.fixture
def admin(people: Cast) -> Program:
    """A key of Ana, who is an administrator and no operator."""
    Member.objects.filter(pk=people.ana.pk).update(role=Role.ADMIN)
    people.ana.refresh_from_db()
    return Program(people, make_key(people.ana, "shop", by=people.olga)[1])


@pytest.fixture
def operator(people: Cast) -> Program:
    return Program(people, make_key(people.olga, "console", by=people.olga)[1])


def body(response: HttpResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def test_a_server_is_added_read_and_listed_without_its_password(admin: Program) -> None:
    answer = admin.post("/servers", ADDED)
    added = body(answer, 201)
    assert (added["port"], added["has_password"], added["state"]) == (465, True, "in_use")
    assert added["uses"][0] | {"resets_at": ""} == {"unit": "hour", "used": 0, "limit": 100, "resets_at": ""}
    listed = admin.get("/servers")
    answers = [answer, admin.get(f"/servers/{added['id']}"), listed]
    assert [row["name"] for row in body(listed)["data"] if not row["is_shared"]] == ["Lamps"]
    assert all(PASSWORD not in each.content.decode() for each in answers)
    assert MailServer.objects.get(name="Lamps").password == PASSWORD


def test_a_patch_changes_what_is_given_and_keeps_the_secrets(admin: Program) -> None:
    server = server_at(admin.people, 587, user="ana", password=PASSWORD, limit_per_day=10)
    changed = body(admin.ask("patch", f"/servers/srv_{server.pk}", {"priority": 3, "limit_per_day": None}))
    assert (changed["priority"], changed["port"], changed["limit_per_day"]) == (3, 587, None)
    server.refresh_from_db()
    assert (server.password, server.user) == (PASSWORD, "ana")
    body(admin.ask("patch", f"/servers/srv_{server.pk}", {"password": "other"}))
    server.refresh_from_db()
    assert server.password == "other"


def test_a_server_is_led_elsewhere_only_by_who_knows_its_password(admin: Program) -> None:
    server = server_at(admin.people, 587, user="ana", password=PASSWORD)
    where = f"/servers/srv_{server.pk}"
    refused = admin.ask("patch", where, {"host": "new.example"})
    assert "Password" in body(refused, 422)["detail"]
    body(admin.ask("patch", where, {"host": "new.example", "password": "theirs"}))
    server.refresh_from_db()
    assert (server.host, server.password) == ("new.example", "theirs")


def test_the_failure_of_the_shared_relay_names_it_to_operators_only(
    admin: Program, operator: Program
) -> None:
    shared = relays.shared_server()
    until = timezone.now() + timedelta(minutes=15)
    words = "The connection to relay.example:25 failed"
    MailServer.objects.filter(pk=shared.pk).update(down_until=until, last_failure=words)
    where = f"/servers/srv_{shared.pk}"
    assert body(operator.get(where))["last_failure"] == words
    assert body(admin.get(where))["last_failure"] is None


def test_repeating_a_request_adds_nothing_twice(admin: Program) -> None:
    answers = [admin.post("/servers", ADDED, Idempotency_Key="one") for _ in range(2)]
    assert body(answers[0], 201) == body(answers[1], 201)
    assert MailServer.objects.filter(name="Lamps").count() == 1


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"from_filter": "not a domain!"}, "refused", "FROM Filtering"),
        ({"host": "https://x"}, "refused", "like smtp.example.com"),
        ({"port": 99999}, "malformed", "cannot be read"),
        ({"pasword": "x"}, "malformed", "cannot be read"),
        ({"owner": "nobody@demo.example"}, "malformed", "cannot be read"),
        ({"authentication": "xoauth2"}, "refused", "OAuth 2.0 needs"),
    ],
)
def test_what_cannot_work_is_a_problem_that_says_so(
    admin: Program, change: dict[str, Any], code: str, words: str
) -> None:
    answer = admin.post("/servers", {**ADDED, **change})
    problem = body(answer, 422)
    assert answer["Content-Type"] == "application/problem+json"
    assert problem["code"] == code
    assert words in problem["detail"]
    assert PASSWORD not in answer.content.decode()
    assert not MailServer.objects.filter(workspace=admin.people.workspace).exists()


def test_archiving_names_what_uses_the_server(admin: Program) -> None:
    people = admin.people
    server = server_at(people, 587)
    email = waiting(people)
    lane = relays.lane_of(people.workspace, "urgent", server)
    type(email).objects.filter(pk=email.pk).update(lane=lane)
    problem = body(admin.post(f"/servers/srv_{server.pk}/archive", {}), 422)
    assert problem["errors"] == [
        {"field": "used_by", "message": "1 email waits for it: send or cancel it first."}
    ]
    type(email).objects.filter(pk=email.pk).update(state="cancelled")
    assert body(admin.post(f"/servers/srv_{server.pk}/archive", {}))["state"] == "archived"
    assert body(admin.post(f"/servers/srv_{server.pk}/unarchive", {}))["state"] == "in_use"
    body(admin.ask("delete", f"/servers/srv_{server.pk}", {}), 422)
    unused = server_at(admin.people, 25, name="Unused")
    assert body(admin.ask("delete", f"/servers/srv_{unused.pk}", {}))["name"] == "Unused"
    assert not type(unused).objects.filter(pk=unused.pk).exists()


def test_a_test_lists_every_step_and_the_verdict(admin: Program) -> None:
    script = ScriptedRelay({"RCPT": b"554 5.7.1 Relay access denied\r\n"})
    with beside(script):
        server = server_at(admin.people, script.port)
        tested = body(admin.post(f"/servers/srv_{server.pk}/test", {}))
    assert tested["is_good"] is False
    last = tested["steps"][-1]
    assert (last["key"], last["state"], last["said"]) == ("rcpt", "failed", "554 5.7.1 Relay access denied")
    assert last["remedy"]
    assert script.contents == []


def test_a_key_of_a_member_sees_no_servers(people: Cast) -> None:
    program = Program(people, make_key(people.ana, "shop", by=people.olga)[1])
    server = server_at(people, 587, owner=people.ana)
    where = f"/servers/srv_{server.pk}"
    asked = [
        program.get("/servers"),
        program.post("/servers", ADDED),
        program.get(where),
        program.ask("patch", where, {"name": "x"}),
        *(program.post(f"{where}/{what}", {}) for what in ("archive", "unarchive", "test")),
    ]
    assert [answer.status_code for answer in asked] == [404] * len(asked)


def test_a_neighbours_server_does_not_exist(admin: Program) -> None:
    theirs = server_at(cast("next"), 587, name="Theirs")
    where = f"/servers/srv_{theirs.pk}"
    asked = [admin.get(where), admin.ask("patch", where, {"name": "x"})]
    asked += [admin.post(f"{where}/{what}", {}) for what in ("archive", "unarchive", "test")]
    assert [answer.status_code for answer in asked] == [404] * len(asked)
    assert "Theirs" not in admin.get("/servers").content.decode()


def test_of_the_shared_relay_operators_change_the_limits_alone(
    admin: Program, operator: Program, settings: Any
) -> None:
    settings.POSTROOM_RELAY_URL = "smtps://relay:geheim@relay.example"
    where = f"/servers/srv_{relays.shared_server().pk}"
    assert body(operator.get(where))["host"] == "relay.example"
    assert body(admin.get(where))["host"] is None
    assert "geheim" not in operator.get(where).content.decode()
    assert body(operator.ask("patch", where, {"limit_per_hour": 9}))["limit_per_hour"] == 9
    assert body(admin.ask("patch", where, {"limit_per_hour": 5}), 422)["code"] == "refused"
    assert "RELAY_URL" in operator.ask("patch", where, {"host": "evil.example"}).content.decode()
    assert body(admin.post(f"{where}/test", {}), 422)["code"] == "refused"
    shared = relays.shared_server()
    assert (shared.limit_per_hour, shared.host) == (9, "")


def test_the_openapi_document_has_every_endpoint_and_no_answer_with_a_secret() -> None:
    document = json.loads(Client().get("/api/v1/openapi.json").content)
    paths = {path for path in document["paths"] if path.startswith("/api/v1/servers")}
    one = "/api/v1/servers/{server_id}"
    assert paths == {"/api/v1/servers", one, f"{one}/archive", f"{one}/unarchive", f"{one}/test"}
    shown = document["components"]["schemas"]["ServerShape"]["properties"]
    assert not {"password", "client_key", "oauth"} & set(shown)


def test_a_server_that_is_an_account_at_a_provider_never_shows_its_key(admin: Program) -> None:
    answer = admin.post(
        "/servers", {"name": "Post", "esp": "postmark", "esp_options": {"server_token": PASSWORD}}
    )
    added = body(answer, 201)
    assert (added["transport"], added["esp"], added["host"]) == ("esp", "postmark", None)
    assert added["has_esp_options"]
    one = f"/servers/{added['id']}"
    stream = body(admin.ask("patch", one, {"esp_options": {"message_stream": "notes", "server_token": ""}}))
    assert stream["esp"] == "postmark"
    stored = json.loads(MailServer.objects.get(name="Post").esp_options)
    assert stored == {"server_token": PASSWORD, "message_stream": "notes"}
    assert all(PASSWORD not in each.content.decode() for each in (answer, admin.get(one)))
    missing = body(admin.ask("patch", one, {"esp": "mailjet"}), 422)
    assert "secret_key" in missing["detail"]
    assert MailServer.objects.get(name="Post").esp == "postmark"
    body(admin.ask("patch", one, {"transport": "smtp", "host": "smtp.lamps.example"}))
    again = MailServer.objects.get(name="Post")
    assert (again.esp, again.esp_options, again.host) == ("", "", "smtp.lamps.example")


def test_another_provider_gets_no_key_of_the_one_before(admin: Program) -> None:
    given = {"name": "Post", "esp": "brevo", "esp_options": {"api_key": PASSWORD}}
    one = f"/servers/{body(admin.post('/servers', given), 201)['id']}"
    refused = body(admin.ask("patch", one, {"esp": "resend"}), 422)
    assert "api_key" in refused["detail"]


def test_only_operators_name_the_address_of_an_api(admin: Program, operator: Program) -> None:
    given = {
        "name": "Post",
        "esp": "postmark",
        "esp_options": {"server_token": PASSWORD, "api_url": "http://169.254.169.254/"},
    }
    assert "operator" in body(admin.post("/servers", given), 422)["detail"]
    assert not MailServer.objects.filter(name="Post").exists()
    body(operator.post("/servers", given), 201)
