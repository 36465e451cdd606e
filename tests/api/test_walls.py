"""A key of one workspace finds nothing of another, on any route."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from postroom.api import api
from postroom.conversations.models import Message, ScheduledMessage
from postroom.flows import signing_keys
from postroom.outgoing.models import Email, State
from postroom.workspaces.models import DkimKey, Member, Role
from tests.api.conftest import RECORD, Program
from tests.flows.servers import server_at

pytestmark = pytest.mark.django_db

# One body for every route that takes one, so that nothing but the wall refuses the request.
BODIES: dict[str, dict[str, Any]] = {
    "put": {"title": "Mine now"},
    "patch": {"limit": 300},
    "post": {"text": "Hello", "recipients": ["x@example.org"], "raw": "U3ViamVjdDogeA0KDQp4"},
}

BODIES_OF: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "messages"): {"text": "Hello"},
    ("patch", "{message_id}"): {"send_at": None},
    ("patch", "{server_id}"): {"name": "Mine now"},
    ("post", "keys"): {"algorithm": "ed25519"},
    ("patch", "{scheduled_id}"): {"text": "Hello"},
    ("post", "preview"): {"text": "Hello"},
    ("post", "decision"): {"granted": 300},
}

# The same keys lead to other actions in every workspace: tests/api/test_actions.py.
OWN_IN_EVERY_WORKSPACE = "/api/v1/actions/"


def routes_with_ids() -> list[tuple[str, str]]:
    found = []
    for path, methods in api.get_openapi_schema()["paths"].items():
        for method, operation in methods.items():
            if "{" in path and "security" in operation and not path.startswith(OWN_IN_EVERY_WORKSPACE):
                found.append((method, path.removeprefix("/api/v1")))
    return found


def test_the_walk_sees_the_routes() -> None:
    assert len(routes_with_ids()) >= 9


def test_every_route_with_an_id_of_another_workspace_is_not_found(
    program: Program, neighbour: Program
) -> None:
    program.put("/records/their.own/R-1", {"title": "Theirs"})
    program.post("/records/their.own/R-1/messages", {"text": "Secret", "to": ["x@example.org"]})
    later = (timezone.now() + timedelta(days=1)).isoformat()
    program.post("/records/their.own/R-1/messages", {"text": "Secret", "post_at": later})
    scheduled = ScheduledMessage.objects.get()
    message, email = Message.objects.get(), Email.objects.get(address__addr_spec="x@example.org")
    people = program.people
    key = signing_keys.make(people.domain, DkimKey.Algorithm.ED25519, by=people.olga)
    Member.objects.filter(pk=neighbour.people.ana.pk).update(role=Role.ADMIN)  # only the wall refuses
    names = {
        "server_id": f"srv_{server_at(people, 25).pk}",
        "domain_id": f"dom_{people.domain.pk}",
        "key_id": f"dkim_{key.pk}",
        "model": "their.own",
        "external_id": "R-1",
        "message_id": f"msg_{message.pk}",
        "email_id": f"em_{email.pk}",
        "scheduled_id": f"sch_{scheduled.pk}",
        "slug": "demo",
    }
    for method, path in routes_with_ids():
        if method == "put":
            continue  # a record of the same name in the own workspace: see below
        filled = re.sub(r"\{(\w+)\}", lambda match: names[match[1]], path)
        body = BODIES_OF.get((method, path.rpartition("/")[2]), BODIES.get(method))
        response = neighbour.ask(method, filled, body)
        assert response.status_code == 404, (method, path)
        assert json.loads(response.content)["code"] == "not_found"
    email.refresh_from_db()
    assert email.state == State.OUTGOING


def test_a_record_of_the_same_name_is_another_record(program: Program, neighbour: Program) -> None:
    ours = json.loads(program.put(RECORD, {"title": "Ours"}).content)
    theirs = json.loads(neighbour.put(RECORD, {"title": "Theirs"}).content)
    assert ours["id"] != theirs["id"]
    assert json.loads(program.get(RECORD).content)["title"] == "Ours"


def test_lists_show_only_the_own_workspace(program: Program, neighbour: Program) -> None:
    program.post(f"{RECORD}/messages", {"text": "Ours"})
    ids = {record["id"] for record in json.loads(neighbour.get("/records").content)["data"]}
    ours = {record["id"] for record in json.loads(program.get("/records").content)["data"]}
    assert not ids & ours
    assert json.loads(neighbour.get("/emails").content)["data"] == []
    assert len(json.loads(program.get("/emails").content)["data"]) == 1


def test_a_raw_mail_cannot_be_put_on_a_record_of_another_workspace(
    program: Program, neighbour: Program
) -> None:
    program.put("/records/their.own/R-1", {"title": "Theirs"})
    body = {**BODIES["post"], "record": "their.own/R-1"}
    del body["text"]
    assert neighbour.post("/emails/raw", body).status_code == 404
