"""The daily limit as arithmetic: whose it is, when its day turns, what is kept for urgent mail.

A day of the limit is named by the date on which it ends: it starts at 23:00 UTC the evening before. Summer
time is nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from postroom.workspaces.models import Plan, Workspace

PLAN_LIMITS: Mapping[str, int | None] = {
    Plan.PAID: 200,
    Plan.ONE_APP_FREE: 20,
    Plan.TRIAL: 50,
    Plan.MIGRATING: 50,
    Plan.UNLIMITED: None,
}
FLOOR = 5
WARNING_PERCENT = 80
URGENT_SHARE = "mail.quota.urgent_share_percent"
AUTO_RESUME = "mail.quota.auto_resume"
_DAY = timedelta(days=1)
_RESET = time(23, tzinfo=UTC)


def limit_of(workspace: Workspace) -> int | None:
    """How many emails a day a workspace may hand to the shared relay; None: as many as it likes."""
    return limit_from(workspace.plan, workspace.daily_limit)


def limit_from(plan: str, daily_limit: int | None) -> int | None:
    """The figure an operator set goes before the plan's; nothing is under the floor."""
    limit = PLAN_LIMITS.get(plan, FLOOR) if daily_limit is None else daily_limit
    return limit if limit is None else max(FLOOR, limit)


def quota_day(now: datetime) -> date:
    """The day of the limit that an instant belongs to."""
    return (now.astimezone(UTC) + (_DAY - timedelta(hours=23))).date()


def resets_at(now: datetime) -> datetime:
    """When the limit starts again: the next 23:00 UTC; at 23:00 itself, a day later."""
    return datetime.combine(quota_day(now), _RESET)


def starts_at(day: date) -> datetime:
    """When a day of the limit starts: 23:00 UTC the evening before."""
    return datetime.combine(day, _RESET) - _DAY


def kept_for_urgent(limit: int, percent: int) -> int:
    """How much of a limit bulk mail leaves alone: that share rounded up, but never the whole."""
    return min(limit - 1, -(-limit * percent // 100))


def is_near(used: int, limit: int) -> bool:
    """Is so much used up that people should know of it?"""
    return used * 100 >= limit * WARNING_PERCENT


# What limit to recommend.

BASE = 200
FOR_EACH_MEMBER = 20
FOR_EACH_FEATURE = 500
BULK_FEATURES = ("email_marketing", "marketing_automation")
ALIASES_PERCENT = 25
OWN_DOMAIN_PERCENT = 25
DOMAIN_SET_UP_PERCENT = 50
#: Up to this bounce rate, this percentage of the figure; beyond the last, WORST_PERCENT.
TRUST = ((0.02, 100), (0.05, 50), (0.10, 25))
WORST_PERCENT = 5
RATE_COUNTS_FROM = 50  # of fewer emails a single bounce says nothing


@dataclass(frozen=True, slots=True)
class Factors:
    """What a limit is decided on. `bounce_rate` is bounced ÷ sent, 0 to 1, both of the last 30 days."""

    member_count: int
    feature_names: tuple[str, ...]
    record_model_count: int
    sent_30_days: int
    bounced_30_days: int
    bounce_rate: float
    has_aliases: bool
    has_own_domain: bool
    is_domain_set_up: bool
    has_own_server: bool


def recommend(factors: Factors) -> int:
    """The limit that these factors speak for: a multiple of 5, never under the floor.

    (200 + 20 for each member + 500 for each marketing feature)
    × (100 % + 25 % with aliases + 25 % with a domain of its own + 50 % if that is set up)
    × (100 % up to 2 % bounces, 50 % up to 5 %, 25 % up to 10 %, else 5 %; under 50 emails sent: 100 %).
    """
    features = sum(name in BULK_FEATURES for name in factors.feature_names)
    base = BASE + FOR_EACH_MEMBER * factors.member_count + FOR_EACH_FEATURE * features
    set_up = (
        100
        + ALIASES_PERCENT * factors.has_aliases
        + OWN_DOMAIN_PERCENT * factors.has_own_domain
        + DOMAIN_SET_UP_PERCENT * factors.is_domain_set_up
    )
    figure = base * set_up * trust_percent(factors) // 10_000
    return max(FLOOR, figure - figure % 5)


def trust_percent(factors: Factors) -> int:
    """How much of the figure the bounce rate leaves, in percent."""
    if factors.sent_30_days < RATE_COUNTS_FROM:
        return 100
    return next((percent for rate, percent in TRUST if factors.bounce_rate <= rate), WORST_PERCENT)
