"""The daily limit over the API: what a key's workspace has used, and what operators set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.utils import timezone

from postroom.conversations.models import Contact, Message
from postroom.flows.keys import make_key
from postroom.outgoing.models import Allowance
from postroom.workspaces import plans
from postroom.workspaces.models import LimitRequest, Plan, Workspace
from tests.api.conftest import RECORD, Program
from tests.people import cast

pytestmark = pytest.mark.django_db
MINE = "/workspaces/demo/quota"


@pytest.fixture(autouse=True)
def plan_of_the_cast(program: Program) -> None:
    """Whatever the cast has elsewhere, here it has the 200 a day of a paying workspace."""
    Workspace.objects.update(plan=Plan.PAID, daily_limit=None)


@pytest.fixture
def admin(program: Program) -> Program:
    """A program that acts as Olga, who operates the installation."""
    people = program.people
    return Program(people, make_key(people.olga, "console", by=people.olga)[1])


def shape(response: HttpResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def used(program: Program, count: int) -> None:
    starts_at = plans.starts_at(plans.quota_day(timezone.now()))
    Allowance.objects.create(
        workspace=program.people.workspace,
        unit=Allowance.Unit.QUOTA_DAY,
        starts_at=starts_at,
        used_count=count,
    )


def test_a_program_reads_what_is_left(program: Program) -> None:
    used(program, 170)
    quota = shape(program.get("/quota"))
    assert (quota["limit"], quota["used"], quota["left"], quota["held"]) == (200, 170, 30, 0)
    assert (quota["warning"], quota["exhausted"]) == (True, False)
    assert quota["resets_at"].endswith("23:00:00Z")
    assert quota["request"] is None


def test_without_a_limit_it_is_null(program: Program) -> None:
    Workspace.objects.update(plan=Plan.UNLIMITED)
    quota = shape(program.get("/quota"))
    assert (quota["limit"], quota["left"], quota["warning"]) == (None, None, False)


def test_a_neighbour_reads_its_own(program: Program, neighbour: Program) -> None:
    used(program, 170)
    quota = shape(neighbour.get("/quota"))
    assert (quota["workspace"], quota["used"]) == ("next", 0)


def test_a_higher_limit_is_asked_for_once(admin: Program, neighbour: Program) -> None:
    wanted = {"wanted": 500, "reason": "We invoice 400 customers"}
    request = shape(admin.post("/quota/requests", wanted, Idempotency_Key="once"), 201)
    assert (request["wanted"], request["state"], request["workspace"]) == (500, "open", "demo")
    assert shape(admin.post("/quota/requests", wanted, Idempotency_Key="once"), 201) == request
    assert shape(admin.post("/quota/requests", wanted), 422)["code"] == "refused"
    assert shape(admin.get("/quota"))["request"]["id"] == request["id"]
    assert [each["id"] for each in shape(admin.get("/quota/requests"))["data"]] == [request["id"]]
    assert shape(neighbour.get("/quota/requests"))["data"] == []


@pytest.mark.parametrize("wanted", [200, 0, -1, "many", None])
def test_asking_for_no_more_is_refused(admin: Program, wanted: object) -> None:
    assert admin.post("/quota/requests", {"wanted": wanted}).status_code == 422
    assert not LimitRequest.objects.exists()


def test_an_ordinary_member_can_neither_ask_nor_withdraw(program: Program) -> None:
    assert shape(program.post("/quota/requests", {"wanted": 500, "reason": "x"}), 422)["code"] == "refused"
    assert shape(program.ask("delete", "/quota/requests/open"), 422)["code"] == "refused"


def test_a_request_is_withdrawn(admin: Program) -> None:
    admin.post("/quota/requests", {"wanted": 500, "reason": "Invoices."})
    assert shape(admin.ask("delete", "/quota/requests/open"))["request"] is None
    assert shape(admin.ask("delete", "/quota/requests/open"), 422)["code"] == "refused"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "/workspaces", None),
        ("get", MINE, None),
        ("patch", MINE, {"limit": 900}),
        ("post", f"{MINE}/decision", {"granted": 900}),
    ],
)
def test_only_operators_see_workspaces(program: Program, method: str, path: str, body: object) -> None:
    """To every other key there are none, not even its own."""
    assert shape(program.ask(method, path, body), 404)["code"] == "not_found"
    assert Workspace.objects.get().daily_limit is None


def test_an_administrator_of_another_workspace_is_no_operator(program: Program) -> None:
    people = cast("next")
    next_door = Program(people, make_key(people.olga, "console", by=people.olga)[1])
    assert next_door.ask("patch", MINE, {"limit": 900}).status_code == 404
    assert next_door.ask("patch", "/workspaces/next/quota", {"limit": 900}).status_code == 404


def test_an_operator_lists_the_workspaces_page_by_page(admin: Program, neighbour: Program) -> None:
    first = shape(admin.get("/workspaces?limit=1"))
    rest = shape(admin.get(f"/workspaces?limit=1&cursor={first['next_cursor']}"))
    assert [each["workspace"] for each in first["data"] + rest["data"]] == ["next", "demo"]
    assert rest["next_cursor"] is None


def test_an_operator_changes_what_is_named_and_nothing_else(admin: Program, neighbour: Program) -> None:
    path = "/workspaces/next/quota"
    changed = shape(admin.ask("patch", path, {"limit": 300, "features": ["email_marketing"]}))
    assert (changed["quota"]["limit"], changed["own_limit"]) == (300, 300)
    assert changed["features"] == changed["factors"]["feature_names"] == ["email_marketing"]
    changed = shape(admin.ask("patch", path, {"plan": "trial"}))
    assert (changed["quota"]["plan"], changed["quota"]["limit"]) == ("trial", 300)
    changed = shape(admin.ask("patch", path, {"limit": None}))
    assert (changed["quota"]["plan"], changed["quota"]["limit"], changed["own_limit"]) == ("trial", 50, None)
    assert shape(admin.get(path)) == changed
    assert changed["features"] == ["email_marketing"]


@pytest.mark.parametrize(
    "body", [{"limit": 4}, {"plan": "gold"}, {"features": ["magic"]}, {"limits": 300}, {"limit": "300 a day"}]
)
def test_what_cannot_be_set_changes_nothing(admin: Program, body: object) -> None:
    assert admin.ask("patch", MINE, body).status_code == 422
    workspace = Workspace.objects.get()
    assert (workspace.plan, workspace.daily_limit, workspace.features) == (Plan.PAID, None, "")


def test_a_wrong_feature_undoes_the_figure_beside_it(admin: Program) -> None:
    assert admin.ask("patch", MINE, {"limit": 300, "features": ["magic"]}).status_code == 422
    assert Workspace.objects.get().daily_limit is None


def test_a_workspace_that_does_not_exist_is_not_found(admin: Program) -> None:
    assert shape(admin.get("/workspaces/none/quota"), 404)["code"] == "not_found"


@pytest.mark.parametrize(("granted", "limit", "state"), [(450, 450, "granted"), (None, None, "declined")])
def test_an_operator_decides(admin: Program, granted: int | None, limit: int | None, state: str) -> None:
    admin.post("/quota/requests", {"wanted": 500, "reason": "Invoices."})
    decided = shape(admin.post(f"{MINE}/decision", {"granted": granted, "answer": "Bounces fell."}))
    assert (decided["own_limit"], decided["quota"]["request"]) == (limit, None)
    [request] = shape(admin.get("/quota/requests"))["data"]
    assert (request["state"], request["granted"], request["answer"]) == (state, granted, "Bounces fell.")
    assert shape(admin.post(f"{MINE}/decision", {"granted": granted}), 422)["code"] == "refused"


def test_a_preview_says_who_would_be_told_and_how_long_it_takes(program: Program) -> None:
    Workspace.objects.update(daily_limit=5)
    to = [f"reader{number}@example.net" for number in range(11)]
    preview = shape(program.post(f"{RECORD}/preview", {"text": "News", "to": to}))
    assert preview["emails"] == 12
    assert [told["why"] for told in preview["told"]].count("named") == 11
    assert [left["reason"] for left in preview["not_told"]] == ["author"]
    assert (preview["forecast"]["limit"], preview["forecast"]["days"]) == (5, 3)
    assert not Message.objects.exists()
    assert not Contact.objects.filter(address__addr_spec=to[0]).exists()


def test_a_preview_of_what_leaves_today_has_no_forecast(program: Program) -> None:
    preview = shape(program.post(f"{RECORD}/preview", {"text": "News"}))
    assert (preview["emails"], preview["forecast"]) == (1, None)


def test_a_preview_names_outsiders_on_a_note(program: Program) -> None:
    body = {"text": "Psst", "note": True, "to": ["carla@example.com"]}
    assert [each["address"] for each in shape(program.post(f"{RECORD}/preview", body))["outsiders"]] == [
        "carla@example.com"
    ]
