"""Why a limit is recommended, in words: the arithmetic of `workspaces.plans.recommend`, said aloud."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from postroom.workspaces import plans
from postroom.workspaces.plans import Factors


def reasons_for(factors: Factors) -> list[str]:
    """One sentence for each step, in the active language."""
    return [*_base(factors), *_set_up(factors), _trust(factors)]


def percent_of(rate: float) -> str:
    """A share as people write it, with one decimal if it has one."""
    return f"{rate * 100:.1f}".removesuffix(".0")


def _base(factors: Factors) -> Iterator[str]:
    yield _("%(base)d to start with, as on the plan Paid.") % {"base": plans.BASE}
    yield ngettext(
        "%(each)d for its %(count)d member.",
        "%(each)d for each of its %(count)d members.",
        factors.member_count,
    ) % {"each": plans.FOR_EACH_MEMBER, "count": factors.member_count}
    count = sum(name in plans.BULK_FEATURES for name in factors.feature_names)
    if count:
        yield ngettext(
            "%(each)d for %(count)d marketing feature in use.",
            "%(each)d for each of %(count)d marketing features in use.",
            count,
        ) % {"each": plans.FOR_EACH_FEATURE, "count": count}


def _set_up(factors: Factors) -> Iterator[str]:
    if factors.has_aliases:
        yield _("%(percent)d %% more, because aliases are set up.") % {"percent": plans.ALIASES_PERCENT}
    if not factors.has_own_domain:
        yield _("Nothing more for a domain, because it sends from none of its own.")
        return
    yield _("%(percent)d %% more for its own domain.") % {"percent": plans.OWN_DOMAIN_PERCENT}
    if factors.is_domain_set_up:
        words = _("%(percent)d %% more, because SPF, DKIM and DMARC of that domain are right.")
        yield words % {"percent": plans.DOMAIN_SET_UP_PERCENT}
    else:
        yield _("Nothing more for SPF, DKIM and DMARC: they are not all right yet.")


def _trust(factors: Factors) -> str:
    if factors.sent_30_days < plans.RATE_COUNTS_FROM:
        return _("Too little was sent in 30 days to judge by what came back, so nothing is taken off.")
    rate, share = percent_of(factors.bounce_rate), plans.trust_percent(factors)
    if share == 100:
        return _("%(rate)s %% came back in 30 days, which is little: nothing is taken off.") % {"rate": rate}
    words = _("%(rate)s %% came back in 30 days, which is much: only %(share)d %% of the figure is left.")
    return words % {"rate": rate, "share": share}
