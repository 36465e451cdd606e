"""What the daily limit would make of a message, said before it is posted."""

from __future__ import annotations

from dataclasses import dataclass

from postroom.flows import limits
from postroom.flows.drafts import Preview
from postroom.workspaces import parameters, plans
from postroom.workspaces.models import Channel, Workspace


@dataclass(frozen=True, slots=True)
class Foretold:
    """A message to so many recipients, of which each counts, under a limit that makes them take days.

    `is_resumed`: what is over the limit waits; else it becomes Delivery Failed, to be retried by hand.
    """

    recipient_count: int
    limit: int
    forecast: limits.Forecast
    is_resumed: bool


def foretell(workspace: Workspace, preview: Preview) -> Foretold | None:
    """How long a previewed message would take; None if all of it leaves today, or none of it counts."""
    limit, count = plans.limit_of(workspace), recipient_count(preview)
    if limit is None or not count or not preview.route.server.is_shared:
        return None
    forecast = limits.forecast(workspace, count, preview.stream)
    if forecast.fits_today:
        return None
    return Foretold(count, limit, forecast, parameters.value(workspace.pk, plans.AUTO_RESUME))


def recipient_count(preview: Preview) -> int:
    """How many would be mailed."""
    return sum(told.how == Channel.EMAIL for told in preview.told)
