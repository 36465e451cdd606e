"""Mail domains and their DKIM keys over the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse

from postroom.flows import domain_check
from postroom.flows.keys import make_key
from postroom.workspaces.models import DkimKey
from tests.api.conftest import Program
from tests.flows.dns import Zone
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(people: Cast) -> Program:
    return Program(people, make_key(people.olga, "console", by=people.olga)[1])


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    zone = Zone()
    monkeypatch.setattr(domain_check, "PublicDns", lambda: zone)
    return zone


def body(response: HttpResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def test_a_domain_is_set_up_from_making_a_key_to_retiring_it(admin: Program, zone: Zone) -> None:
    [domain] = body(admin.get("/domains"))["data"]
    assert {finding["state"] for finding in domain["findings"]} == {"unchecked"}
    at = f"/domains/{domain['id']}"
    key = body(admin.post(f"{at}/keys", {"algorithm": "rsa"}), 201)
    assert (key["state"], key["domain"]) == ("waiting", domain["domain"])
    assert "".join(key["record_strings"]) == key["record_text"]
    assert len(key["record_strings"]) == 2
    refused = body(admin.post(f"{at}/keys/{key['id']}/activate", None), 422)
    assert refused["code"] == "refused"
    assert key["record_name"] in refused["detail"]
    zone.txt[key["record_name"]] = [key["record_text"]]
    active = body(admin.post(f"{at}/keys/{key['id']}/activate", None))
    assert (active["state"], active["dns"]) == ("active", "ok")
    rotated = body(admin.post(f"{at}/keys", {"algorithm": "rsa", "rotate": True}), 201)
    assert rotated["selector"] != key["selector"]
    revoked = body(admin.post(f"{at}/keys/{key['id']}/revoke", None))
    assert revoked["state"] == "retired"
    assert [one["state"] for one in body(admin.get(f"{at}/keys"))["data"]] == ["waiting", "retired"]


def test_the_check_says_each_finding_with_what_to_publish(admin: Program, zone: Zone, people: Cast) -> None:
    zone.mx[people.domain.domain] = ["mx.example"]
    zone.dead.add(f"_dmarc.{people.domain.domain}")
    shape = body(admin.post(f"/domains/dom_{people.domain.pk}/check", None))
    states = {finding["check"]: finding["state"] for finding in shape["findings"]}
    assert states == {"dkim": "missing", "spf": "missing", "dmarc": "unknown", "mx": "ok"}
    assert shape["checked_at"] is not None
    assert body(admin.get(f"/domains/dom_{people.domain.pk}")) == shape


def test_no_answer_holds_a_private_key(admin: Program, zone: Zone, people: Cast) -> None:
    answer = admin.post(f"/domains/dom_{people.domain.pk}/keys", {"algorithm": "ed25519"})
    private = DkimKey.objects.get().private.splitlines()[1]
    assert private not in answer.content.decode()
    assert "private" not in body(answer, 201)


def test_a_key_that_acts_as_a_member_is_refused(program: Program) -> None:
    domain = f"/domains/dom_{program.people.domain.pk}"
    for response in (program.get("/domains"), program.get(domain), program.post(f"{domain}/keys", {})):
        assert body(response, 422)["code"] == "refused"
    assert not DkimKey.objects.exists()


def test_the_wall_holds_for_domains_and_keys(admin: Program, zone: Zone, people: Cast) -> None:
    theirs = cast("next")
    key = body(admin.post(f"/domains/dom_{people.domain.pk}/keys", {}), 201)
    stranger = Program(theirs, make_key(theirs.olga, "console", by=theirs.olga)[1])
    assert body(stranger.get(f"/domains/dom_{people.domain.pk}"), 404)["code"] == "not_found"
    other = f"/domains/dom_{theirs.domain.pk}/keys/{key['id']}/revoke"
    assert body(stranger.post(other, None), 404)["code"] == "not_found"


def test_a_kind_that_is_none_is_a_malformed_request(admin: Program, people: Cast) -> None:
    answer = admin.post(f"/domains/dom_{people.domain.pk}/keys", {"algorithm": "dsa"})
    assert body(answer, 422)["code"] == "malformed"
