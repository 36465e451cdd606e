"""What a gated email waits for, in words: the same ones wherever somebody asks."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from postroom.outgoing.waits import Wait

SUBJECT_SHOWN = 60


def in_short(wait: Wait) -> str:
    """What it waits for, as the words of a row."""
    if wait.campaign:
        return _("waits for the campaign “%(subject)s”") % {"subject": _subject(wait)}
    if wait.is_off:
        return _("waits for %(action)s, which is switched off") % {"action": wait.action_name}
    return _("waits for %(action)s") % {"action": wait.action_name}


def in_full(wait: Wait, now: datetime) -> str:
    """The same as sentences, with when that is or what helps."""
    if wait.campaign:
        words = _(
            "It waits for the campaign “%(subject)s”: campaigns leave one after another, the one that was "
            "written first goes first. To let this one go sooner, cancel that one."
        )
        return words % {"subject": _subject(wait)}
    if wait.is_off:
        words = _(
            "It waits for %(action)s, which is switched off. An administrator switches it on under "
            "Technical, Scheduled Actions; Send Now lets this email leave alone."
        )
    elif wait.runs_at is None:
        words = _("It waits for the next run of %(action)s.")
    elif wait.runs_at <= now:
        words = _("It waits for %(action)s, which is about to run.")
    else:
        words = _("It waits for %(action)s, which runs next on %(time)s.")
    return words % {"action": wait.action_name, "time": _when(wait.runs_at)}


def kept_by(action_name: str, count: int) -> str:
    """That so many emails which were put back into the queue wait for an action that is switched off."""
    words = ngettext(
        "%(count)d of them waits for %(action)s, which is switched off. An administrator switches it on "
        "under Technical, Scheduled Actions; Send Now lets this email leave alone.",
        "%(count)d of them wait for %(action)s, which is switched off. An administrator switches it on "
        "under Technical, Scheduled Actions; Send Now lets these emails leave alone.",
        count,
    )
    return words % {"count": count, "action": action_name}


def _when(at: datetime | None) -> str:
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M}" if at else ""


def _subject(wait: Wait) -> str:
    is_long = len(wait.campaign) > SUBJECT_SHOWN
    return f"{wait.campaign[: SUBJECT_SHOWN - 1]}…" if is_long else wait.campaign
