"""The envelope picture on a message: red, waiting or sent, with its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from postroom.outgoing.models import Tally


@dataclass(frozen=True, slots=True)
class DeliveryIcon:
    """`state` is "failed" (red), "waiting", "sent" or "none"; `words` say the same, translated when shown."""

    state: str
    words: Any


NONE = DeliveryIcon("none", "")


def icon_for(tally: Tally | None) -> DeliveryIcon:
    """The picture for a message's counts: red exactly if an Email is in Delivery Failed and not ignored."""
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
