"""The daily limit as people meet it: usage, forecasts, who sets it, who asks for more, who is told."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom import engine
from postroom.conversations.models import Alias, Notification
from postroom.conversations.models.records import Stream
from postroom.diagnostics.models import Event
from postroom.flows import limit_requests, limits, sending
from postroom.outgoing import allowances, waiting
from postroom.outgoing.allowances import Crossing
from postroom.outgoing.models import Allowance, Email, Lane, State
from postroom.outgoing.relays import shared_server
from postroom.wire.reply import Outcome
from postroom.workspaces import parameters, plans
from postroom.workspaces.models import LimitRequest, MailDomain, Member, Role, Workspace
from postroom.workspaces.refusals import RequestRefused
from tests.outgoing.limited import DUE, NOON, RESET, end, holds, limit, take
from tests.outgoing.queued import queue, relay
from tests.people import Cast, cast, join


def due(people: Cast, count: int, stream: Stream = Stream.URGENT, name: str = "p") -> list[Email]:
    return queue(
        people.workspace, [f"{name}{n}@example.org" for n in range(count)], stream=stream, due_at=DUE
    )


def usage(people: Cast, now: datetime = NOON) -> limits.Usage:
    return limits.usage(people.workspace, now=now)


# Usage.


def test_usage_says_what_is_left_what_is_kept_and_what_waits(people: Cast) -> None:
    limit(people.workspace, 10)
    assert usage(people) == limits.Usage(10, 0, 10, RESET, False, False, 0, 2)
    due(people, 12, Stream.BULK)
    take()
    take()
    assert usage(people) == limits.Usage(10, 8, 2, RESET, True, False, 4, 2, RESET)
    due(people, 5, name="urgent")
    take()
    take()
    assert usage(people) == limits.Usage(10, 10, 0, RESET, True, True, 7, 2, RESET)
    assert usage(people, RESET) == limits.Usage(10, 0, 10, RESET + timedelta(days=1), False, False, 0, 2)


def test_without_a_limit_nothing_is_used_and_nothing_is_left(people: Cast) -> None:
    due(people, 3)
    take()
    assert usage(people) == limits.Usage(None, 0, None, RESET, False, False, 0, 0)


def test_a_limit_that_was_lowered_under_what_is_used_leaves_nothing(people: Cast) -> None:
    limit(people.workspace, 10)
    due(people, 9)
    take()
    limit(people.workspace, 5)
    assert (usage(people).left, usage(people).is_exhausted) == (0, True)


# Forecasts.


def foretold(people: Cast, recipients: int, stream: str = "urgent") -> tuple[bool, int, date | None, int]:
    found = limits.forecast(people.workspace, recipients, stream, now=NOON)
    return found.fits_today, found.days, found.last_leaves_on, found.waiting_before


def test_a_forecast_counts_what_waits_already_and_the_days_after(people: Cast) -> None:
    limit(people.workspace, 10)
    today = date(2026, 3, 28)
    assert foretold(people, 10) == (True, 1, today, 0)
    assert foretold(people, 11) == (False, 2, today, 0)  # at 23:00 UTC
    assert foretold(people, 21) == (False, 3, date(2026, 3, 29), 0)
    due(people, 5)
    assert foretold(people, 6) == (False, 2, today, 5)
    take()
    assert foretold(people, 5) == (True, 1, today, 0)
    assert foretold(people, 6) == (False, 2, today, 0)


def test_a_forecast_of_bulk_mail_leaves_urgent_mail_its_share(people: Cast) -> None:
    limit(people.workspace, 10)
    due(people, 3)
    due(people, 2, Stream.BULK, "bulk")
    assert foretold(people, 3, "bulk") == (True, 1, date(2026, 3, 28), 5)
    assert foretold(people, 4, "bulk") == (False, 2, date(2026, 3, 28), 5)
    assert foretold(people, 7, "urgent") == (True, 1, date(2026, 3, 28), 3)


def test_without_a_limit_everything_fits(people: Cast) -> None:
    assert foretold(people, 1_000_000, "bulk") == (True, 1, None, 0)


@given(figure=st.integers(5, 12), count=st.integers(1, 40), used=st.integers(0, 12), is_bulk=st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_forecast_comes_true(people: Cast, figure: int, count: int, used: int, is_bulk: bool) -> None:
    stream = Stream.BULK if is_bulk else Stream.URGENT
    with transaction.atomic():
        limit(people.workspace, figure)
        Allowance.objects.create(
            workspace=people.workspace,
            unit=Allowance.Unit.QUOTA_DAY,
            starts_at=plans.starts_at(plans.quota_day(NOON)),
            used_count=min(used, figure),
        )
        found = limits.forecast(people.workspace, count, stream, now=NOON)
        due(people, count, stream)
        now, left_on, days = NOON, NOON, 1
        while Email.objects.filter(state=State.OUTGOING).exists():
            while emails := take(now=now).emails:
                end(emails, Outcome.ACCEPTED, now=now)
                left_on = now
            days += left_on != now or Email.objects.filter(state=State.OUTGOING).exists()
            now = plans.resets_at(now)
        assert found.last_leaves_on == left_on.date()
        assert found.fits_today is (left_on == NOON)
        assert found.days == days
        transaction.set_rollback(True)


# What an operator sets.


def test_a_raised_limit_lets_what_waits_go_and_wakes_the_relay(
    people: Cast, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    woken: list[str] = []
    limit(people.workspace, 5)
    due(people, 9)
    take()
    take()
    assert holds(people.workspace)["urgent"][0] == "daily_limit"
    monkeypatch.setattr(engine, "wake", woken.append)
    with django_capture_on_commit_callbacks(execute=True):
        limits.set_limit(people.workspace, 8, None, by=people.olga)
    assert woken == [shared_server().engine_lane]
    assert plans.limit_of(people.workspace) == 8
    assert len(take().emails) == 3
    event = Event.objects.get(kind="limit.set")
    assert (event.member, event.detail) == (people.olga, {"before": "paid, 5", "after": "paid, 8"})


def test_no_figure_of_its_own_goes_back_to_the_plan(people: Cast) -> None:
    limit(people.workspace, 8)
    limits.set_limit(people.workspace, None, "trial", by=people.olga)
    assert plans.limit_of(Workspace.objects.get(pk=people.workspace.pk)) == 50
    limits.set_limit(people.workspace, None, "unlimited", by=people.olga)
    assert plans.limit_of(people.workspace) is None


@pytest.mark.parametrize(
    ("figure", "plan", "says"), [(4, None, "at least 5"), (10**9, None, "at most"), (None, "gold", "gold")]
)
def test_a_figure_under_the_floor_or_an_unknown_plan_changes_nothing(
    people: Cast, figure: int | None, plan: str | None, says: str
) -> None:
    with pytest.raises(RequestRefused, match=says):
        limits.set_limit(people.workspace, figure, plan, by=people.olga)
    assert Workspace.objects.get(pk=people.workspace.pk).daily_limit is None


def test_only_an_operator_sets_a_limit(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="operator"):
        limits.set_limit(people.workspace, 500, None, by=people.ana)
    assert not Event.objects.filter(kind="limit.set").exists()


# Factors.


def test_factors_count_what_a_decision_rests_on(people: Cast) -> None:
    emails = due(people, 4)
    recently = timezone.now() - timedelta(days=3)
    Email.objects.update(state=State.SENT, first_attempt_at=recently)
    Email.objects.filter(pk=emails[0].pk).update(state=State.FAILED, failure_kind="bounced")
    Email.objects.filter(pk=emails[1].pk).update(first_attempt_at=recently - timedelta(days=40))
    found = limits.factors_of(people.workspace)
    assert (found.sent_30_days, found.bounced_30_days) == (3, 1)
    assert found.bounce_rate == pytest.approx(1 / 3)
    assert (found.member_count, found.record_model_count, found.feature_names) == (2, 1, ())
    has = (found.has_aliases, found.has_own_domain, found.is_domain_set_up, found.has_own_server)
    assert has == (False, False, False, False)


def test_factors_know_aliases_and_a_domain_that_is_set_up(people: Cast) -> None:
    good = {"is_ok": True, "found": "", "wanted": ""}
    domain = MailDomain.objects.create(
        workspace=people.workspace, domain="shop.example", dns_findings={"spf": good, "dkim": good}
    )
    Alias.objects.create(workspace=people.workspace, mail_domain=domain, local_part="sales", model="crm.lead")
    found = limits.factors_of(people.workspace)
    assert (found.has_aliases, found.has_own_domain, found.is_domain_set_up) == (True, True, False)
    MailDomain.objects.filter(pk=domain.pk).update(dns_findings={"spf": good, "dkim": good, "dmarc": good})
    assert limits.factors_of(people.workspace).is_domain_set_up


# Asking for more.


def notices(reason: str) -> list[Member]:
    return [each.member for each in Notification.objects.filter(reason=reason).order_by("pk")]


def ask(people: Cast, wanted: int = 500) -> LimitRequest:
    return limit_requests.ask(people.workspace, wanted, "We invoice on Mondays.", by=people.olga)


def test_asking_tells_every_operator_wherever_they_sit(people: Cast) -> None:
    neighbour = cast("neighbour")
    pia = join(neighbour.workspace, "pia@neighbour.example", "Pia", Role.OPERATOR)
    limit(people.workspace, 50)
    request = ask(people)
    assert (request.wanted_limit, request.recommended_limit, request.decided_at) == (500, 240, None)
    assert request.factors["member_count"] == 2
    assert notices("limit_asked") == [people.olga, pia]
    assert Notification.objects.get(member=pia).workspace == neighbour.workspace
    assert Event.objects.get(kind="limit.asked").detail["wanted"] == 500


def test_at_most_one_request_is_open(people: Cast) -> None:
    limit(people.workspace, 50)
    request = ask(people)
    with pytest.raises(RequestRefused, match="already"):
        ask(people)
    limit_requests.decline(request, by=people.olga)
    assert ask(people, 600).wanted_limit == 600


def test_a_request_is_withdrawn_and_asked_anew(people: Cast) -> None:
    """As long as nobody has decided."""
    limit(people.workspace, 50)
    request = ask(people)
    with pytest.raises(RequestRefused, match="Only an administrator"):
        limit_requests.withdraw(people.workspace, by=people.ana)
    limit_requests.withdraw(people.workspace, by=people.olga)
    assert Event.objects.get(kind="limit.withdrawn").detail["wanted"] == 500
    with pytest.raises(RequestRefused, match="withdrawn already"):
        limit_requests.grant(request, 400, by=people.olga)
    with pytest.raises(RequestRefused, match="No request is open"):
        limit_requests.withdraw(people.workspace, by=people.olga)
    assert ask(people, 600).wanted_limit == 600


def test_a_request_without_a_reason_is_refused(people: Cast) -> None:
    limit(people.workspace, 50)
    with pytest.raises(RequestRefused, match="Say why"):
        limit_requests.ask(people.workspace, 500, " \n", by=people.olga)


def test_a_grant_sets_the_limit_and_tells_who_asked(people: Cast) -> None:
    limit(people.workspace, 50)
    request = ask(people)
    limit_requests.grant(request, 400, by=people.olga)
    assert plans.limit_of(Workspace.objects.get(pk=people.workspace.pk)) == 400
    request.refresh_from_db()
    assert (request.granted_limit, request.decided_by) == (400, people.olga)
    assert request.decided_at is not None
    assert notices("granted:400") == [people.olga]
    assert {"limit.set", "limit.granted"} <= set(Event.objects.values_list("kind", flat=True))


def test_what_was_declined_changes_nothing_and_is_told(people: Cast) -> None:
    limit(people.workspace, 50)
    request = ask(people)
    limit_requests.decline(request, by=people.olga)
    assert plans.limit_of(Workspace.objects.get(pk=people.workspace.pk)) == 50
    assert notices("limit_declined") == [people.olga]
    with pytest.raises(RequestRefused, match="decided or withdrawn already"):
        limit_requests.grant(request, 400, by=people.olga)


def test_a_grant_under_the_floor_leaves_the_request_open(people: Cast) -> None:
    limit(people.workspace, 50)
    request = ask(people)
    with pytest.raises(RequestRefused, match="at least 5"):
        limit_requests.grant(request, 1, by=people.olga)
    request.refresh_from_db()
    assert request.decided_at is None


@pytest.mark.parametrize("wanted", [50, 10, 10**8])
def test_a_figure_that_does_not_help_is_refused(people: Cast, wanted: int) -> None:
    limit(people.workspace, 50)
    with pytest.raises(RequestRefused, match="50 emails a day"):
        ask(people, wanted)


def test_who_may_not_decide_or_ask_is_refused(people: Cast) -> None:
    limit(people.workspace, 50)
    with pytest.raises(RequestRefused, match="administrator"):
        limit_requests.ask(people.workspace, 500, "", by=people.ana)
    request = ask(people)
    with pytest.raises(RequestRefused, match="operator"):
        limit_requests.grant(request, 60, by=people.ana)
    with pytest.raises(RequestRefused, match="operator"):
        limit_requests.decline(request, by=people.ana)
    with pytest.raises(RequestRefused):
        limit_requests.ask(people.workspace, 500, "", by=cast("neighbour").olga)


def test_a_workspace_without_a_limit_has_nothing_to_ask_for(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="no daily limit"):
        ask(people)


# Warnings.


def test_administrators_are_told_once_a_day_each_of_most_and_of_all(people: Cast) -> None:
    start = plans.starts_at(plans.quota_day(timezone.now()))
    for is_all in (False, True, False, True):
        limits.tell_crossings([Crossing(people.workspace.pk, is_all, start)])
        Notification.objects.update(read_at=timezone.now())
    assert (notices("daily_limit_80"), notices("daily_limit_100")) == ([people.olga], [people.olga])
    limits.tell_crossings([Crossing(people.workspace.pk, False, timezone.now() + timedelta(hours=1))])
    assert notices("daily_limit_80") == [people.olga] * 2


def test_where_nothing_waits_the_notice_does_not_promise_that_it_leaves_by_itself(people: Cast) -> None:
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "off")
    start = plans.starts_at(plans.quota_day(timezone.now()))
    for _ in range(2):
        limits.tell_crossings([Crossing(people.workspace.pk, True, start)])
    assert (notices("daily_limit_failing"), notices("daily_limit_100")) == ([people.olga], [])
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "on")
    limits.tell_crossings([Crossing(people.workspace.pk, True, start)])
    assert notices("daily_limit_100") == []


# In the whole river.


@pytest.fixture
def stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LINGER_SECONDS", 0.0)


def drained(settings: Any) -> tuple[list[str], datetime | None]:
    """As the engine does it: again at once if something is due, as a place that was given back lets it be."""
    lane = shared_server().engine_lane

    async def run() -> tuple[list[str], datetime | None]:
        async with relay(settings) as door:
            next_at = await sending.drain(lane)
            while next_at is not None and next_at <= timezone.now():
                next_at = await sending.drain(lane)
            return [taken.forward_paths[0] for taken in door.taken], next_at

    return asyncio.run(run())


@pytest.mark.django_db(transaction=True)
def test_a_drain_sends_the_limit_tells_of_it_and_comes_back_when_the_next_day_starts(
    data_folder: Any, settings: Any, stays_open: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = cast()
    limit(people.workspace, 5)
    due(people, 7)
    queue(people.workspace, ["code-550@example.org"], due_at=DUE - timedelta(days=1))
    taken, next_at = drained(settings)
    now = timezone.now()
    assert (len(taken), next_at) == (5, plans.resets_at(now))
    assert Email.objects.filter(state=State.OUTGOING).count() == 2
    assert (limits.usage(people.workspace).used, limits.usage(people.workspace).held_count) == (5, 2)
    assert notices("daily_limit_100") == [people.olga]
    monkeypatch.setattr(waiting, "database_time", lambda: plans.resets_at(now))
    taken, next_at = drained(settings)
    assert (len(taken), next_at) == (2, None)
    assert set(Lane.objects.values_list("held_because", flat=True)) == {""}


@pytest.mark.django_db(transaction=True)
def test_what_fails_for_want_of_a_limit_turns_red_and_is_told(
    data_folder: Any, settings: Any, stays_open: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = cast()
    limit(people.workspace, 5)
    parameters.put(people.workspace.pk, plans.AUTO_RESUME, "off")
    monkeypatch.setattr("postroom.outgoing.admitting.TURNED_AWAY", 2)
    emails = due(people, 12)
    taken, next_at = drained(settings)
    assert (len(taken), next_at) == (5, None)
    assert Email.objects.filter(state=State.FAILED, failure_kind="daily_limit").count() == 7
    assert emails[0].message.tally.failed_count == 7
    told = Notification.objects.get(kind=Notification.Kind.FAILURE, member=people.olga)
    assert (told.message, told.count) == (emails[0].message, 7)


# Tidying up.


def test_windows_that_nobody_looks_at_any_more_are_dropped(people: Cast) -> None:
    now = timezone.now()
    minute, day = Allowance.Unit.MINUTE, Allowance.Unit.QUOTA_DAY
    for unit, age in ((minute, 3), (minute, 0), (day, 3), (day, 80)):
        Allowance.objects.create(
            workspace=people.workspace, unit=unit, starts_at=now - timedelta(days=age), used_count=1
        )
    assert allowances.drop_old(now) == 2
    left = Allowance.objects.order_by("unit").values_list("unit", "starts_at")
    assert [(unit, (now - start).days) for unit, start in left] == [("minute", 0), ("quota_day", 3)]
