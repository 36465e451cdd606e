"""What the daily limit would make of a message, said before it is posted."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from postroom.conversations.models.records import Stream
from postroom.flows import limits
from postroom.flows.drafts import Preview, Told
from postroom.outgoing.waits import Wait, wait_for_queue
from postroom.workspaces import installation, parameters, plans
from postroom.workspaces.capture_rules import ALLOW, REDIRECT
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


def waits_for(workspace: Workspace, preview: Preview) -> Wait | None:
    """Which scheduled action would let a previewed message go; None if its emails leave at once."""
    if preview.stream != Stream.BULK or not recipient_count(preview):
        return None
    return wait_for_queue(workspace.pk)


@dataclass(frozen=True, slots=True)
class Captured:
    """What capture mode would make of a message: who is kept in, and who is told in whose place.

    `kept_in` are those whose mail stays here; `redirected` those whose mail goes to `to` instead.
    """

    kept_in: tuple[Told, ...]
    redirected: tuple[Told, ...]
    to: str


def captured(workspace: Workspace, preview: Preview) -> Captured | None:
    """Whom capture mode keeps this from; None if it reaches everybody."""
    capture = installation.capture_of(workspace.pk)
    mailed = [told for told in preview.told if told.how == Channel.EMAIL]
    away = tuple(told for told in mailed if not capture.lets_through(told.addr_spec))
    if not away:
        return None
    is_redirect = capture.mode == REDIRECT
    return Captured(() if is_redirect else away, away if is_redirect else (), capture.to)


def capture_words(workspace: Workspace) -> str:
    """What capture mode makes of mail that is sent again; empty where it leaves."""
    capture = installation.capture_of(workspace.pk)
    if capture.mode == REDIRECT:
        return _("Capture mode is on: it goes to %(to)s instead.") % {"to": capture.to}
    if capture.mode == ALLOW:
        return _("Capture mode is on: what does not go to %(allowed)s is captured again.") % {
            "allowed": capture.allowed_text
        }
    return _("Capture mode is on: it is captured again, and nothing leaves.") if capture.mode else ""


def recipient_count(preview: Preview) -> int:
    """How many would be mailed."""
    return sum(told.how == Channel.EMAIL for told in preview.told)
