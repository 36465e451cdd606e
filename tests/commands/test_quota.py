"""`postroom quota …`."""

from __future__ import annotations

import pytest
from django.utils import timezone

from postroom.flows import limit_requests
from postroom.outgoing.models import Allowance, Email, FailureKind
from postroom.workspaces import plans
from postroom.workspaces.models import LimitRequest, Member, Plan, Workspace
from tests.commands.conftest import Postroom
from tests.commands.test_shapes import fits
from tests.people import Cast, cast
from tests.web.mail import fail, said

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def plan_of_the_cast(people: Cast) -> None:
    """Whatever the cast has elsewhere, here it has the 200 a day of a paying workspace."""
    Workspace.objects.update(plan=Plan.PAID, daily_limit=None)
    people.workspace.refresh_from_db()


def used(people: Cast, count: int) -> None:
    starts_at = plans.starts_at(plans.quota_day(timezone.now()))
    Allowance.objects.create(
        workspace=people.workspace, unit=Allowance.Unit.QUOTA_DAY, starts_at=starts_at, used_count=count
    )


def test_what_is_used_is_shown_in_words(postroom: Postroom, people: Cast) -> None:
    used(people, 170)
    shown = postroom("quota", "show")
    assert "demo has used 170 of 200 emails today. It starts again at" in shown.out
    assert "23:00 UTC." in shown.out
    assert fits(postroom("quota", "show", "--json"), "quota show")
    assert postroom("quota", "show", "--json").json["left"] == 30


def test_the_figure_of_a_workspace_is_set_and_given_up(postroom: Postroom, people: Cast) -> None:
    assert "0 of 500" in postroom("quota", "set", "demo", "500").out
    trial = postroom("quota", "set", "demo", "plan:trial", "--json")
    assert fits(trial, "quota set")
    assert (trial.json["plan"], trial.json["limit"]) == ("trial", 50)
    assert "no daily limit" in postroom("quota", "set", "demo", "plan:unlimited").out
    postroom("quota", "set", "demo", "7")
    assert postroom("quota", "set", "demo", "plan:", "--json").json["plan"] == "unlimited"
    assert Workspace.objects.get().daily_limit is None


def test_a_raised_limit_says_what_failed_over_it_and_how_much_retry_sends_now(
    postroom: Postroom, people: Cast
) -> None:
    used(people, 200)
    for word in ("one", "two"):
        fail(said(people, word).emails.get(), FailureKind.DAILY_LIMIT, "The daily limit is used up.")
    fail(said(people, "three").emails.get())
    assert "2 emails failed over the limit. Retry works when the day starts again" in (
        postroom("quota", "show").out
    )
    assert "Retry lets 1 of them leave now" in postroom("quota", "set", "demo", "201").out
    assert "Retry lets 2 of them leave now" in postroom("quota", "set", "demo", "plan:unlimited").out
    Email.objects.update(ignored_at=timezone.now())
    assert postroom("quota", "show", "--json").json["failed"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("demo", "4"), 1, "at least 5"),
        (("demo", "many"), 2, "Write a number such as 500"),
        (("demo", "²"), 2, "Write a number such as 500"),
        (("demo", "plan:gold"), 1, "paid, one_app_free, trial, migrating, unlimited"),
        (("none", "500"), 2, "demo"),
    ],
)
def test_a_limit_that_cannot_be_set_says_why(
    postroom: Postroom, people: Cast, arguments: tuple[str, ...], code: int, words: str
) -> None:
    ran = postroom("quota", "set", *arguments)
    assert (ran.exit_code, ran.out) == (code, "")
    assert words in ran.err
    assert Workspace.objects.get().daily_limit is None


def test_without_an_operator_nothing_is_set(postroom: Postroom, people: Cast) -> None:
    Member.objects.update(role="admin")
    ran = postroom("quota", "set", "demo", "500")
    assert ran.exit_code == 1
    assert "postroom user invite" in ran.err


def test_requests_of_all_workspaces_are_listed_and_decided(postroom: Postroom, people: Cast) -> None:
    neighbours = cast("next")
    Workspace.objects.update(plan=Plan.PAID)
    neighbours.workspace.refresh_from_db()
    for each in (people, neighbours):
        limit_requests.ask(each.workspace, 500, "More", by=each.olga)
    listed = postroom("quota", "requests", "--json")
    assert fits(listed, "quota requests")
    assert [each["workspace"] for each in listed.json["data"]] == ["demo", "next"]
    granted = postroom("quota", "grant", "next", "450", "--json")
    assert fits(granted, "quota grant")
    assert granted.json["granted"] == 450
    declined = postroom("quota", "decline", "demo", "--answer", "Too many bounces.", "--json")
    assert fits(declined, "quota decline")
    assert declined.json["answer"] == "Too many bounces."
    assert postroom("quota", "requests", "--json").json["data"] == []
    states = [each["state"] for each in postroom("quota", "requests", "--all", "--json").json["data"]]
    assert states == ["declined", "granted"]
    assert set(Workspace.objects.values_list("slug", "daily_limit")) == {("demo", None), ("next", 450)}


def test_a_request_is_withdrawn(postroom: Postroom, people: Cast) -> None:
    Workspace.objects.update(plan=Plan.PAID)
    people.workspace.refresh_from_db()
    limit_requests.ask(people.workspace, 500, "More", by=people.olga)
    assert fits(postroom("quota", "withdraw", "demo", "--json"), "quota withdraw")
    assert not LimitRequest.objects.exists()
    assert "No request is open" in postroom("quota", "withdraw", "demo").err


def test_what_is_not_open_cannot_be_decided(postroom: Postroom, people: Cast) -> None:
    for arguments in (("grant", "demo", "500"), ("decline", "demo")):
        ran = postroom("quota", *arguments)
        assert ran.exit_code == 1
        assert "demo has no open request" in ran.err
    assert not LimitRequest.objects.exists()
