"""What happens next to each of some emails; and for those held, how many leave before them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils import timezone

from postroom.outgoing.expecting import Expected, Place, expected, places_of
from postroom.outgoing.models import Email
from postroom.web.counting import Count
from postroom.web.next_steps import NextStep, next_step

#: What the words of a row read of its lane.
LANE = ("lane__workspace", "lane__server", "lane__via")


@dataclass(frozen=True, slots=True)
class Placed:
    """What happens next to an email; `before` is how many leave before it while it is held, else None."""

    step: NextStep
    before: Count | None


def steps_of(emails: Sequence[Email]) -> dict[int, Placed]:
    """By id; what LANE names must be loaded."""
    now = timezone.now()
    when = expected(emails, now)
    steps = {email.pk: next_step(email, now, when.get(email.pk)) for email in emails}
    return {pk: Placed(step, _before(step, when.get(pk))) for pk, step in steps.items()}


def _before(step: NextStep, when: Expected | None) -> Count | None:
    return _count(when.place) if step.look == "held" and when and when.place else None


def count_before(held: Iterable[Email]) -> dict[int, Count]:
    """For each of these waiting emails (lanes loaded), how many of the workspace leave earlier."""
    return {pk: _count(place) for pk, place in places_of(held).items()}


def _count(place: Place) -> Count:
    return Count(place.before, place.is_more)
