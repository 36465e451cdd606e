"""When something is to happen: at once, or at a time that is not too far away."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.flows.drafts import PostRefused

LONGEST_WAIT = timedelta(days=366)


def still_to_come(at: datetime | None) -> datetime | None:
    """The (aware) time if it lies ahead; None, which is at once, if it has passed or none is given.

    Raises PostRefused for a time more than a year ahead.
    """
    now = timezone.now()
    if at is None or at <= now:
        return None
    if at > now + LONGEST_WAIT:
        raise PostRefused(_("That is more than a year ahead. Choose an earlier time."))
    return at
