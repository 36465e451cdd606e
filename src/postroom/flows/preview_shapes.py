"""What programs are shown before something is posted: who would be told, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from postroom.flows.drafts import NotTold, Preview, Told
from postroom.flows.foretelling import Captured, Foretold, recipient_count
from postroom.flows.shapes import PersonShape
from postroom.flows.showing import shape_of_person
from postroom.outgoing.waits import Wait


@dataclass(frozen=True, slots=True)
class ToldShape:
    """Somebody who would be told: `how` is email or postroom, `why` follower or named."""

    person: PersonShape
    how: str
    why: str


@dataclass(frozen=True, slots=True)
class NotToldShape:
    """Somebody who would not be told, and why."""

    person: PersonShape
    reason: str


@dataclass(frozen=True, slots=True)
class ForecastShape:
    """What the daily limit makes of it: on how many days it leaves, and after how many other emails.

    Without `auto_resume` what is over the limit becomes Delivery Failed and has to be retried each day.
    """

    limit: int
    auto_resume: bool
    days: int
    last_leaves_on: date | None
    waiting_before: int


@dataclass(frozen=True, slots=True)
class PreviewShape:
    """Who would be told. `emails` counts those by email; `forecast` is None if all of them leave today.

    `outsiders` would read an internal note; posting it needs `confirm_outsiders`. `server` would carry it.
    Bulk mail `waits_for` a scheduled action (its key), which runs next at `runs_at` (None: it is switched
    off); urgent mail for none. Capture mode keeps `captured` in and sends the mail of `redirected` to
    `redirected_to` instead.
    """

    told: list[ToldShape]
    not_told: list[NotToldShape]
    outsiders: list[PersonShape]
    emails: int
    server: str
    forecast: ForecastShape | None
    waits_for: str | None
    runs_at: datetime | None
    captured: list[PersonShape]
    redirected: list[PersonShape]
    redirected_to: str | None


def shape_of_preview(
    preview: Preview,
    foretold: Foretold | None,
    captured: Captured | None = None,
    wait: Wait | None = None,
) -> PreviewShape:
    """Who would be told, and what the daily limit, capture mode and the queue make of it (None: nothing)."""
    kept_in, redirected = (captured.kept_in, captured.redirected) if captured else ((), ())
    return PreviewShape(
        told=[_told(told) for told in preview.told],
        not_told=[_not_told(left) for left in preview.not_told],
        outsiders=[shape_of_person(contact) for contact in preview.outsiders],
        emails=recipient_count(preview),
        server=preview.route.server.name,
        forecast=_forecast(foretold) if foretold else None,
        waits_for=wait.key if wait else None,
        runs_at=wait.runs_at if wait else None,
        captured=[shape_of_person(told.contact) for told in kept_in],
        redirected=[shape_of_person(told.contact) for told in redirected],
        redirected_to=captured.to if captured and redirected else None,
    )


def _told(told: Told) -> ToldShape:
    return ToldShape(shape_of_person(told.contact), told.how, told.why)


def _not_told(left: NotTold) -> NotToldShape:
    return NotToldShape(shape_of_person(left.contact), left.reason)


def _forecast(foretold: Foretold) -> ForecastShape:
    found = foretold.forecast
    return ForecastShape(
        foretold.limit, foretold.is_resumed, found.days, found.last_leaves_on, found.waiting_before
    )
