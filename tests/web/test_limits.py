"""What people see of the daily limit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from postroom.conversations.models import Notification
from postroom.flows import limit_requests
from postroom.flows.recording import contact_for, follow
from postroom.flows.showing import emails_to_show, shape_of_email
from postroom.outgoing import allowances, relays
from postroom.outgoing.models import Allowance, Email, FailureKind, Lane, MailServer
from postroom.web.queue_places import count_before
from postroom.workspaces import plans
from postroom.workspaces.models import LimitRequest, Member, Plan, SystemParameter, Workspace
from tests.people import Cast
from tests.web.conftest import Browse
from tests.web.mail import fail, said

WHY = {"wanted": "500", "reason": "We invoice 400 customers every Monday."}
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def plan_of_the_cast(people: Cast) -> None:
    """Whatever the cast has elsewhere, here it has the 200 a day of a paying workspace."""
    limited(people)


@pytest.fixture
def neighbours(neighbours: Cast) -> Cast:
    """So have they."""
    limited(neighbours)
    return neighbours


def limited(people: Cast, limit: int | None = None) -> None:
    Workspace.objects.filter(pk=people.workspace.pk).update(plan=Plan.PAID, daily_limit=limit)
    people.workspace.refresh_from_db()


def used(people: Cast, count: int) -> None:
    """So many have left over the shared relay today."""
    starts_at = plans.starts_at(plans.quota_day(timezone.now()))
    Allowance.objects.update_or_create(
        workspace=people.workspace,
        server=None,
        unit=Allowance.Unit.QUOTA_DAY,
        starts_at=starts_at,
        defaults={"used_count": count},
    )


def hold(people: Cast, stream: str = "urgent") -> Lane:
    """The limit has closed a lane until the day starts again."""
    lane = relays.lane_of(people.workspace, stream)
    resets_at = plans.resets_at(timezone.now())
    Lane.objects.filter(pk=lane.pk).update(held_until=resets_at, held_because=allowances.DAILY_LIMIT)
    lane.refresh_from_db()
    return lane


def page(browser: Client, name: str, *args: object, **query: str) -> str:
    answer = browser.get(reverse(name, args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def asked(people: Cast) -> LimitRequest:
    return limit_requests.ask(people.workspace, 500, WHY["reason"], by=people.olga)


# Plan and limit.


def test_every_member_may_read_what_is_used(people: Cast, as_ana: Client) -> None:
    """In words, not only as a bar; the queue links there, and nothing else of the settings."""
    used(people, 30)
    shown = page(as_ana, "limit")
    assert "30 of 200 emails used today" in shown
    assert '<meter min="0" max="200" value="30"' in shown
    assert "starts again at 23:00 UTC" in shown
    assert "<dt>Left today</dt><dd>170</dd>" in shown
    assert reverse("domains") not in shown
    assert reverse("limit") in page(as_ana, "emails")


def test_a_workspace_sees_only_its_own_use(people: Cast, neighbours: Cast, browse: Browse) -> None:
    """The wall."""
    used(people, 123)
    hold(people)
    asked(people)
    shown = page(browse(neighbours.olga), "limit")
    assert "0 of 200" in shown
    assert "123" not in shown
    assert WHY["reason"] not in shown
    assert "has not decided yet" not in shown


def test_what_waits_for_the_limit_is_counted_with_its_time(people: Cast, as_ana: Client) -> None:
    """And led to."""
    said(people)
    hold(people)
    used(people, 200)
    shown = page(as_ana, "limit")
    assert "1 email</a>" in shown
    assert "The limit of 200 is used up." in shown


def test_without_a_limit_there_is_no_meter(people: Cast, as_olga: Client) -> None:
    """And nothing to ask for."""
    Workspace.objects.filter(pk=people.workspace.pk).update(plan=Plan.UNLIMITED)
    shown = page(as_olga, "limit")
    assert "This workspace has no daily limit." in shown
    assert "<meter" not in shown
    assert 'name="wanted"' not in shown


# Banners.


@pytest.mark.parametrize(("count", "for_olga", "for_ana"), [(159, False, False), (160, True, False)])
def test_administrators_are_warned_from_80_percent_on(
    people: Cast, as_olga: Client, as_ana: Client, *, count: int, for_olga: bool, for_ana: bool
) -> None:
    """Of 200, the 160th; the others are left in peace."""
    used(people, count)
    words = f"The daily limit is nearly used up: {count} of 200"
    assert (words in page(as_olga, "inbox")) == for_olga
    assert (words in page(as_ana, "inbox")) == for_ana


def test_everybody_is_told_when_it_is_used_up(people: Cast, as_ana: Client) -> None:
    """On every page, with the time when it ends."""
    used(people, 200)
    assert "Emails wait because of the daily limit of 200" in page(as_ana, "records")
    assert plans.resets_at(timezone.now()).isoformat() in page(as_ana, "records")


def test_a_workspace_far_from_its_limit_has_no_banner(people: Cast, as_olga: Client) -> None:
    """Nor one that has none."""
    Workspace.objects.filter(pk=people.workspace.pk).update(plan=Plan.UNLIMITED)
    used(people, 10_000)
    assert "daily limit" not in page(as_olga, "inbox")


# Before posting.


def _followed_by(people: Cast, count: int) -> None:
    for number in range(count):
        contact = contact_for(people.workspace, f"reader{number}@example.net")
        follow(people.record, contact, by=people.ana)


def _preview(browser: Client, people: Cast, **headers: str) -> str:
    path = reverse("preview_message", args=[people.record.pk])
    return browser.post(
        path, {"kind": "discussions", "body": "News"}, headers=headers or None
    ).content.decode()


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
def test_the_preview_says_how_many_days_the_limit_makes_of_it(
    people: Cast, as_ana: Client, headers: dict[str, str]
) -> None:
    """12 recipients under 5 a day: today, tomorrow and the day after."""
    _followed_by(people, 11)
    limited(people, 5)
    shown = _preview(as_ana, people, **headers)
    assert "This goes to 12 people by email; under your limit of 5 a day it needs 3 days." in shown
    last = plans.resets_at(timezone.now()) + timedelta(days=1)
    assert f"The last one leaves on {last.day} {last:%b %Y} after 23:00 UTC." in shown
    assert not Email.objects.exists()


def test_the_preview_says_nothing_if_it_fits(people: Cast, as_ana: Client) -> None:
    """As it nearly always does."""
    _followed_by(people, 3)
    assert "under your limit" not in _preview(as_ana, people)


def test_the_preview_of_what_an_own_server_carries_says_nothing_of_the_limit(
    people: Cast, as_ana: Client
) -> None:
    """It is independent of it."""
    _followed_by(people, 11)
    limited(people, 5)
    MailServer.objects.create(workspace=people.workspace, name="own", host="mail.demo.example")
    shown = _preview(as_ana, people)
    assert "12 people will be told" in shown
    assert "under your limit" not in shown


def test_without_resuming_everything_says_that_retry_is_needed(people: Cast, as_ana: Client) -> None:
    """The preview, the banner and the page: nobody waits for what will not come by itself."""
    SystemParameter.objects.create(workspace=people.workspace, key=plans.AUTO_RESUME, value="off")
    _followed_by(people, 11)
    limited(people, 5)
    assert "The others become Delivery Failed; press Retry after 23:00 UTC." in _preview(as_ana, people)
    used(people, 5)
    shown = page(as_ana, "limit")
    assert "Emails fail because of the daily limit of 5" in shown
    assert "leaves by itself" not in shown
    assert "without anybody doing anything" not in shown


# Asking for more.


def test_an_administrator_asks_for_a_higher_limit(people: Cast, as_olga: Client) -> None:
    """The page then shows that it is open, and what the operator will see."""
    answer = as_olga.post(reverse("limit"), WHY, follow=True)
    shown = answer.content.decode()
    assert LimitRequest.objects.get().wanted_limit == 500
    assert "asked for 500 emails a day" in shown
    assert "Bounce rate, 30 days" in shown
    assert 'name="wanted"' not in shown


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({**WHY, "wanted": "200"}, "Ask for more than that."),
        ({**WHY, "wanted": "many"}, "Write a whole number"),
        ({**WHY, "reason": " "}, "This field is required."),
        ({**WHY, "wanted": "99999999999"}, "errorlist"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    people: Cast, as_olga: Client, fields: dict[str, str], words: str
) -> None:
    """With the reason, and what was typed still there."""
    answer = as_olga.post(reverse("limit"), fields)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert fields["wanted"] in answer.content.decode()
    assert not LimitRequest.objects.exists()


def test_ordinary_members_cannot_ask(people: Cast, as_ana: Client) -> None:
    """They are told who can."""
    assert as_ana.post(reverse("limit"), WHY).status_code == 404
    shown = page(as_ana, "limit")
    assert "An administrator of this workspace can ask for it here." in shown
    assert "Bounce rate" not in shown
    assert not LimitRequest.objects.exists()


def test_a_second_request_is_refused_while_one_is_open(people: Cast, as_olga: Client) -> None:
    """Even from a page that was loaded before."""
    asked(people)
    answer = as_olga.post(reverse("limit"), WHY)
    assert answer.status_code == 422
    assert LimitRequest.objects.count() == 1


# Operators.


@pytest.mark.parametrize("name", ["operator_workspaces", "operator_workspace", "operator_decide"])
@pytest.mark.parametrize("role", ["member", "admin"])
def test_the_operators_pages_do_not_exist_for_others(
    people: Cast, as_ana: Client, name: str, role: str
) -> None:
    """Not even for administrators, whose own workspace is listed there."""
    Member.objects.filter(pk=people.ana.pk).update(role=role)
    args = [] if name == "operator_workspaces" else [people.workspace.slug]
    fields = {"plan": Plan.UNLIMITED, "request": "1", "decision": "grant", "granted": "900"}
    assert as_ana.get(reverse(name, args=args)).status_code in (404, 405)
    assert as_ana.post(reverse(name, args=args), fields).status_code in (404, 405)
    assert reverse("operator_workspaces") not in page(as_ana, "inbox")
    people.workspace.refresh_from_db()
    assert people.workspace.plan == Plan.PAID


def test_an_operator_sees_every_workspace_with_its_use(
    people: Cast, neighbours: Cast, as_olga: Client
) -> None:
    """And who asks for more."""
    used(neighbours, 190)
    said(neighbours)
    hold(neighbours)
    limit_requests.ask(neighbours.workspace, 700, "More", by=neighbours.olga)
    shown = page(as_olga, "operator_workspaces")
    assert "190 of 200" in shown
    assert "nearly used up" in shown
    assert "asks for 700 a day" in shown
    assert 'data-label="Waiting">1</td>' in shown
    assert reverse("operator_workspace", args=["demo"]) in shown
    found = page(as_olga, "operator_workspaces", q="neighbour")
    assert reverse("operator_workspace", args=["neighbour"]) in found
    assert f'href="{reverse("operator_workspace", args=["demo"])}"' not in found
    assert "No workspace has “nobody” in its name." in page(as_olga, "operator_workspaces", q="nobody")


def test_an_operator_sets_plan_figure_and_features(people: Cast, neighbours: Cast, as_olga: Client) -> None:
    """Of any workspace; what waited is let go at once."""
    lane = hold(neighbours)
    path = reverse("operator_workspace", args=["neighbour"])
    answer = as_olga.post(path, {"plan": "trial", "limit": "300", "features": ["email_marketing"]})
    assert answer.headers["Location"] == path
    tenant = Workspace.objects.get(slug="neighbour")
    assert (tenant.plan, tenant.daily_limit, tenant.features) == ("trial", 300, "email_marketing")
    lane.refresh_from_db()
    assert lane.held_until is None or lane.held_until <= timezone.now()
    as_olga.post(path, {"plan": "paid", "limit": ""})
    tenant.refresh_from_db()
    assert (tenant.plan, tenant.daily_limit, tenant.features) == ("paid", None, "")


def test_less_than_the_floor_is_refused_with_the_reason(people: Cast, as_olga: Client) -> None:
    """And nothing is changed."""
    path = reverse("operator_workspace", args=["demo"])
    answer = as_olga.post(path, {"plan": "trial", "limit": "4"})
    assert answer.status_code == 422
    assert "Less than 5 a day is not possible, so that an answer" in answer.content.decode()
    people.workspace.refresh_from_db()
    assert (people.workspace.plan, people.workspace.daily_limit) == (Plan.PAID, None)


def test_an_operator_reads_the_request_with_a_reasoned_recommendation(people: Cast, as_olga: Client) -> None:
    """200, and 20 for each of the two members."""
    asked(people)
    shown = page(as_olga, "operator_workspace", "demo")
    assert WHY["reason"] in shown
    assert "Recommended: 240 a day" in shown
    assert "20 for each of its 2 members." in shown
    assert "Too little was sent in 30 days" in shown


@pytest.mark.parametrize(
    ("decision", "limit", "state"), [("grant", 450, "450 granted"), ("decline", None, "declined")]
)
def test_a_request_is_decided_and_whoever_asked_is_told(
    people: Cast,
    neighbours: Cast,
    as_olga: Client,
    browse: Browse,
    *,
    decision: str,
    limit: int | None,
    state: str,
) -> None:
    """In their inbox, and on the page where they asked."""
    request = limit_requests.ask(neighbours.workspace, 500, "More", by=neighbours.olga)
    fields = {"request": str(request.pk), "decision": decision, "granted": "450", "answer": "Bounces fell."}
    as_olga.post(reverse("operator_decide", args=["neighbour"]), fields)
    neighbours.workspace.refresh_from_db()
    assert neighbours.workspace.daily_limit == limit
    theirs = browse(neighbours.olga)
    assert state in page(theirs, "limit")
    assert "Bounces fell." in page(theirs, "limit")
    assert "The higher daily limit you asked for was" in page(theirs, "inbox")
    assert Notification.objects.filter(member=people.olga, reason=limit_requests.ASKED).exists()
    assert "A workspace asks for a higher daily limit." in page(as_olga, "inbox")


def test_a_request_that_was_decided_meanwhile_is_not_decided_again(people: Cast, as_olga: Client) -> None:
    """The page was open in two windows."""
    request = asked(people)
    limit_requests.decline(request, by=people.olga)
    fields = {"request": str(request.pk), "decision": "grant", "granted": "900"}
    answer = as_olga.post(reverse("operator_decide", args=["demo"]), fields)
    assert answer.status_code == 422
    assert "This request has been decided meanwhile." in answer.content.decode()
    people.workspace.refresh_from_db()
    assert people.workspace.daily_limit is None


def test_a_request_is_withdrawn_on_the_page(people: Cast, as_olga: Client, as_ana: Client) -> None:
    """By an administrator."""
    asked(people)
    assert as_ana.post(reverse("withdraw_limit")).status_code == 404
    assert "Withdraw the request" in page(as_olga, "limit")
    as_olga.post(reverse("withdraw_limit"))
    assert not LimitRequest.objects.exists()
    assert "Ask for it" in page(as_olga, "limit")


def test_granting_needs_a_figure(people: Cast, as_olga: Client) -> None:
    """An empty field grants nothing."""
    fields = {"request": str(asked(people).pk), "decision": "grant", "granted": ""}
    answer = as_olga.post(reverse("operator_decide", args=["demo"]), fields)
    assert "Write how many emails a day." in answer.content.decode()
    assert LimitRequest.objects.get().decided_at is None


# What is held.


def test_a_held_email_says_until_when_why_and_what_is_before_it(people: Cast, as_ana: Client) -> None:
    """In the queue, in the panel of its message, and on Why?; urgent mail shows there although it is new."""
    said(people, "First")
    second = said(people, "Second")
    lane = hold(people)
    assert lane.held_until is not None
    queue = page(as_ana, "emails")
    assert queue.count("held: ") == 2
    assert "1 before it" in queue
    assert lane.held_until.isoformat() in queue
    assert "held: daily limit of 200; about" in queue
    assert "1 before it" in page(as_ana, "delivery", second.pk)
    why = page(as_ana, "why", message=str(second.pk), address="ben@example.org")
    assert "1 email of this workspace leaves before it." in why
    assert f"held until {lane.held_until:%Y-%m-%d 23:00}" in why
    assert "because the daily limit of 200 is used up" in why
    assert "Who must act: Nobody" in why


def test_what_failed_because_of_the_limit_says_when_retry_works(people: Cast, as_ana: Client) -> None:
    """Where what is over the limit does not wait."""
    email = fail(said(people).emails.get(), FailureKind.DAILY_LIMIT, "")
    shown = page(as_ana, "delivery", email.message_id)
    assert "Retry after 23:00 UTC, or as soon as the limit is higher" in shown
    assert "Trying again without a change will not help." not in shown
    assert "Retry after 23:00 UTC" in page(
        as_ana, "why", message=str(email.message_id), address="ben@example.org"
    )


def test_urgent_mail_is_before_bulk_mail(people: Cast) -> None:
    """Wherever it stands in its own lane."""
    bulk = said(people, "News", stream="bulk").emails.get()
    said(people, "Answer")
    said(people, "Another")
    hold(people, "bulk")
    held = Email.objects.select_related("lane").filter(pk=bulk.pk)
    assert str(count_before(held)[bulk.pk]) == "2"


def test_more_than_can_be_counted_is_said_so(people: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a page does not grow with the queue."""
    monkeypatch.setattr("postroom.outgoing.expecting.LOOKED_AT", 2)
    emails = [said(people, str(number)).emails.get() for number in range(4)]
    hold(people)
    found = count_before(Email.objects.select_related("lane"))
    assert [str(found[email.pk]) for email in emails] == ["0", "1", "2+", "2+"]


def test_with_more_waiting_than_a_day_takes_every_place_names_the_day_on_which_each_leaves(
    people: Cast, as_ana: Client
) -> None:
    """Five a day, twelve waiting: five leave when the day starts again, and the last two two days later."""
    limited(people, 5)
    for number in range(12):
        said(people, f"No. {number}")
    last = Email.objects.latest("pk")
    hold(people)
    used(people, 5)
    resets_at = plans.resets_at(timezone.now())
    last_at = resets_at + timedelta(days=2)
    queue = page(as_ana, "emails")
    cells = [cell for cell in queue.split("<tr>") if "held: daily limit of 5; about" in cell]
    days = [resets_at + timedelta(days=place // 5) for place in range(12)]
    assert [day.isoformat() in cell for day, cell in zip(reversed(days), cells, strict=True)] == [True] * 12
    assert "5 a day at most" in queue  # the banner
    limit_page = page(as_ana, "limit")
    assert limit_page.count(last_at.isoformat()) >= 2
    why = page(as_ana, "why", message=str(last.message_id), address="ben@example.org")
    assert (
        f"From {resets_at:%Y-%m-%d %H:%M} on mail leaves again, and this email about {last_at:%Y-%m-%d}"
        in why
    )
    assert "(11 before it)" in why
    assert shape_of_email(emails_to_show(Email.objects.all()).get(pk=last.pk)).expected_at == last_at


def test_send_now_is_not_offered_where_the_daily_limit_holds_and_says_why_it_does_not_help(
    people: Cast, as_ana: Client
) -> None:
    email = said(people).emails.get()
    lane = hold(people)
    assert lane.held_until is not None
    assert "Send Now" not in row_of(page(as_ana, "emails"))
    answer = as_ana.post(reverse("emails_send_now"), {"only": email.pk}, follow=True).content.decode()
    assert "leaves now" not in answer
    assert f"the daily limit of 200 is used up until {lane.held_until:%Y-%m-%d %H:%M}" in answer
    assert "ask for a higher limit" in answer


def row_of(queue: str) -> str:
    return queue.split("<tbody")[1].split("</tbody>")[0]
