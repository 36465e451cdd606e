"""The arithmetic of the daily limit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.workspaces import plans
from postroom.workspaces.models import Plan, Workspace
from postroom.workspaces.plans import (
    FLOOR,
    PLAN_LIMITS,
    Factors,
    kept_for_urgent,
    quota_day,
    recommend,
    resets_at,
)

INSTANTS = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from(
        [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))]
    ),
)
FACTORS = st.builds(
    Factors,
    member_count=st.integers(0, 5000),
    feature_names=st.lists(st.sampled_from([*plans.BULK_FEATURES, "invoicing"]), unique=True).map(tuple),
    record_model_count=st.integers(0, 50),
    sent_30_days=st.integers(0, 100_000),
    bounced_30_days=st.integers(0, 100_000),
    bounce_rate=st.floats(0, 1),
    has_aliases=st.booleans(),
    has_own_domain=st.booleans(),
    is_domain_set_up=st.booleans(),
    has_own_server=st.booleans(),
)
NEW = Factors(1, (), 0, 0, 0, 0.0, False, False, False, False)


@pytest.mark.parametrize(
    ("plan", "figure"),
    [("paid", 200), ("one_app_free", 20), ("trial", 50), ("migrating", 50), ("unlimited", None)],
)
def test_each_plan_has_its_figure(plan: str, figure: int | None) -> None:
    assert plans.limit_of(Workspace(plan=plan)) == figure
    assert set(PLAN_LIMITS) == set(Plan.values)


@pytest.mark.parametrize(("own", "counts"), [(5, 5), (1000, 1000), (3, 5), (0, 5)])
@pytest.mark.parametrize("plan", Plan.values)
def test_a_figure_of_its_own_goes_before_the_plan_and_never_under_the_floor(
    plan: str, own: int, counts: int
) -> None:
    assert plans.limit_of(Workspace(plan=plan, daily_limit=own)) == counts


def test_the_day_turns_at_23_utc_exactly() -> None:
    before = datetime(2026, 3, 28, 22, 59, 59, 999_999, tzinfo=UTC)
    at = datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert (quota_day(before), resets_at(before)) == (date(2026, 3, 28), at)
    assert (quota_day(at), resets_at(at)) == (date(2026, 3, 29), at + timedelta(days=1))


@given(INSTANTS)
def test_every_instant_belongs_to_exactly_one_day(now: datetime) -> None:
    day = quota_day(now)
    assert plans.starts_at(day) <= now < resets_at(now)
    assert resets_at(now) - plans.starts_at(day) == timedelta(days=1)
    assert plans.starts_at(day + timedelta(days=1)) == resets_at(now)
    assert (resets_at(now).hour, resets_at(now).minute, resets_at(now).utcoffset()) == (23, 0, timedelta(0))


@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_days_follow_each_other_whatever_clocks_do(now: datetime, later: timedelta) -> None:
    assert quota_day(now) <= quota_day(now + later)
    assert quota_day(now + timedelta(days=1)) == quota_day(now) + timedelta(days=1)
    assert quota_day(now.astimezone(UTC)) == quota_day(now)


def test_a_fifth_of_the_floor_keeps_one_for_urgent_mail() -> None:
    assert [kept_for_urgent(limit, 20) for limit in (5, 6, 200)] == [1, 2, 40]


@given(st.integers(FLOOR, 10**7), st.integers(0, 100))
def test_the_urgent_share_is_at_least_its_percentage_and_never_everything(limit: int, percent: int) -> None:
    kept = kept_for_urgent(limit, percent)
    assert 0 <= kept < limit
    assert kept == limit - 1 or limit * percent <= kept * 100 < limit * percent + 100


@pytest.mark.parametrize(
    ("factors", "figure"),
    [
        (NEW, 220),
        (replace(NEW, member_count=10, feature_names=("email_marketing",)), 900),
        (replace(NEW, has_aliases=True, has_own_domain=True, is_domain_set_up=True), 440),
        (replace(NEW, sent_30_days=1000, bounced_30_days=20, bounce_rate=0.02), 220),
        (replace(NEW, sent_30_days=1000, bounced_30_days=50, bounce_rate=0.05), 110),
        (replace(NEW, sent_30_days=1000, bounced_30_days=100, bounce_rate=0.1), 55),
        (replace(NEW, sent_30_days=1000, bounced_30_days=500, bounce_rate=0.5), 10),
        (replace(NEW, sent_30_days=2, bounced_30_days=1, bounce_rate=0.5), 220),
    ],
)
def test_the_recommended_limit_follows_the_formula(factors: Factors, figure: int) -> None:
    assert recommend(factors) == figure


@given(FACTORS)
def test_what_speaks_for_a_workspace_never_lowers_the_recommendation(factors: Factors) -> None:
    figure = recommend(factors)
    assert figure >= FLOOR
    assert figure % 5 == 0
    better = [
        replace(factors, member_count=factors.member_count + 1),
        replace(factors, feature_names=plans.BULK_FEATURES),
        replace(factors, has_aliases=True),
        replace(factors, has_own_domain=True),
        replace(factors, is_domain_set_up=True),
        replace(factors, bounce_rate=factors.bounce_rate / 2),
    ]
    assert all(recommend(each) >= figure for each in better)
