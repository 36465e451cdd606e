"""What happens next to each of some emails; and for those held, how many leave before them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils import timezone

from postroom.conversations.models.records import Stream
from postroom.outgoing.models import Email, Lane, State
from postroom.web.counting import Count, count_up_to
from postroom.web.next_steps import NextStep, next_step

LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Placed:
    """What happens next to an email; `before` is how many leave before it while it is held, else None."""

    step: NextStep
    before: Count | None


def steps_of(emails: Sequence[Email]) -> dict[int, Placed]:
    """By id; the lanes of the emails must be loaded."""
    now = timezone.now()
    steps = {email.pk: next_step(email, now) for email in emails}
    before = count_before(email for email in emails if steps[email.pk].look == "held")
    return {pk: Placed(step, before.get(pk)) for pk, step in steps.items()}


def count_before(held: Iterable[Email]) -> dict[int, Count]:
    """For each of these waiting emails (lanes loaded), how many of the workspace leave earlier.

    Two questions per lane, however many emails are asked for; from LOOKED_AT on it is "1000+".
    """
    emails = list(held)
    lanes = {email.lane_id: email.lane for email in emails}
    orders = {pk: _order(lane) for pk, lane in lanes.items()}
    urgent = {pk: _urgent_before(lane) for pk, lane in lanes.items()}
    return {email.pk: _sum(orders[email.lane_id], email.pk, urgent[email.lane_id]) for email in emails}


def _order(lane: Lane) -> dict[int, int]:
    rows = Email.objects.filter(lane=lane, state=State.OUTGOING, lease="").order_by("due_at", "pk")
    return {pk: place for place, pk in enumerate(rows.values_list("pk", flat=True)[:LOOKED_AT])}


def _urgent_before(lane: Lane) -> Count:
    if lane.stream == Stream.URGENT:
        return Count(0)
    urgent = Lane.objects.filter(
        workspace_id=lane.workspace_id, server_id=lane.server_id, stream=Stream.URGENT
    )
    waiting = Email.objects.filter(lane__in=urgent.values("pk"), state=State.OUTGOING, lease="")
    return count_up_to(LOOKED_AT, waiting)


def _sum(order: dict[int, int], pk: int, urgent: Count) -> Count:
    number = order.get(pk, LOOKED_AT) + urgent.number
    return Count(min(number, LOOKED_AT), pk not in order or urgent.is_more or number > LOOKED_AT)
