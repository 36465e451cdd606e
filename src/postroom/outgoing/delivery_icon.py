"""The envelope picture on a message: red, waiting or sent, with its words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Min
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from postroom.outgoing.models import Email, State, Tally


@dataclass(frozen=True, slots=True)
class DeliveryIcon:
    """`state` is "failed" (red), "waiting", "sent" or "none"; `words` say the same, translated when shown."""

    state: str
    words: Any


@dataclass(frozen=True, slots=True)
class ByCapture:
    """What capture mode did with a message's mail: how many stayed here, how many went to `to` instead."""

    kept_count: int = 0
    redirected_count: int = 0
    to: str = ""


NONE = DeliveryIcon("none", "")
UNTOUCHED = ByCapture()


def by_capture(workspace_id: int, message_ids: Collection[int]) -> dict[int, ByCapture]:
    """What capture mode did with these messages, in two questions; one it left alone is missing."""
    rows = Email.objects.filter(workspace_id=workspace_id, message__in=message_ids).order_by()
    kept = rows.captured().filter(state=State.CANCELLED).values_list("message").annotate(Count("pk"))
    sent = rows.redirected().filter(state=State.SENT).values_list("message")
    kept_counts = dict(kept)
    redirected = {pk: (count, to) for pk, count, to in sent.annotate(Count("pk"), Min("redirected_to"))}
    return {
        pk: ByCapture(kept_counts.get(pk, 0), *redirected.get(pk, (0, "")))
        for pk in {*kept_counts, *redirected}
    }


def icon_for(tally: Tally | None, done: ByCapture = UNTOUCHED) -> DeliveryIcon:
    """The picture for a message's counts: red exactly if an Email is in Delivery Failed and not ignored.

    What capture mode did is said beside them: neither what it kept nor what went elsewhere reached anybody.
    """
    if tally is None or done == UNTOUCHED:
        return _of_counts(tally)
    parts = []
    if done.kept_count:
        words = ngettext_lazy(
            "%(count)d kept in by capture mode", "%(count)d kept in by capture mode", "count"
        )
        parts.append(words % {"count": done.kept_count})
    if done.redirected_count:
        words = ngettext_lazy("%(count)d went to %(to)s instead", "%(count)d went to %(to)s instead", "count")
        parts.append(words % {"count": done.redirected_count, "to": done.to})
    reached = max(0, tally.sent_count - done.redirected_count)
    icon = _of_counts(tally)
    if icon.state == "sent":
        first = [_counted(reached, "sent")] if reached else []
    else:
        first = [icon.words] if icon.state != "none" else []
    return DeliveryIcon(icon.state, format_lazy(" · ".join(["{}"] * len(first + parts)), *first, *parts))


def _of_counts(tally: Tally | None) -> DeliveryIcon:
    if tally is None or not tally.total_count:
        return NONE
    if tally.is_red:
        words = format_lazy(_("{count} of {total} failed"), count=tally.failed_count, total=tally.total_count)
        return DeliveryIcon("failed", words)
    if tally.outgoing_count:
        return DeliveryIcon("waiting", _counted(tally.outgoing_count, "waiting"))
    if tally.sent_count:
        return DeliveryIcon("sent", _counted(tally.sent_count, "sent"))
    return DeliveryIcon("none", _("Nothing sent"))


def _counted(count: int, what: str) -> Any:
    words = {
        "waiting": ngettext_lazy("%(count)d waiting", "%(count)d waiting", "count"),
        "sent": ngettext_lazy("%(count)d sent", "%(count)d sent", "count"),
    }[what]
    return words % {"count": count}
