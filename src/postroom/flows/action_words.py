"""Scheduled actions in words: their state, what it means, how often they run, what waits for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import assert_never

from django.db import models
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from postroom.schedule.catalogue import MAIL_QUEUE, MAILING_QUEUE, SHIPPED
from postroom.schedule.models import ScheduledAction

Result = ScheduledAction.Result


class ActionState(models.TextChoices):
    """Where an action is. The last three change only when somebody acts."""

    RUNNING = "running", gettext_lazy("Running")
    DUE = "due", gettext_lazy("About to run")
    GOES_ON = "goes_on", gettext_lazy("Goes on")
    NEW = "new", gettext_lazy("Not run yet")
    DONE = "done", gettext_lazy("Done")
    FAILED = "failed", pgettext_lazy("scheduled action", "Failed")
    LOST = "lost", gettext_lazy("Never came back")
    OFF = "off", gettext_lazy("Switched off")
    GIVEN_UP = "given_up", gettext_lazy("Switched off by failures")
    NOT_AVAILABLE = "not_available", gettext_lazy("Not in this version")

    @property
    def is_final(self) -> bool:
        """Does it stay so until somebody acts?"""
        return self in (ActionState.OFF, ActionState.GIVEN_UP, ActionState.NOT_AVAILABLE)


def state_of(action: ScheduledAction, next_at: datetime | None, now: datetime) -> ActionState:
    """Where an action is that runs next at `next_at` (None: it does not)."""
    if not SHIPPED[action.key].is_available:
        return ActionState.NOT_AVAILABLE
    if action.is_running:
        return ActionState.RUNNING
    if action.is_unfinished:
        return ActionState.GOES_ON
    if next_at is not None and next_at <= now:
        return ActionState.DUE
    if not action.is_active:
        return ActionState.GIVEN_UP if action.deactivated_at else ActionState.OFF
    return _after(action)


def _after(action: ScheduledAction) -> ActionState:
    """How its last run left an action that waits for its next call."""
    match action.last_result:
        case Result.FAILED:
            return ActionState.FAILED
        case Result.LOST:
            return ActionState.LOST
        case Result.UNFINISHED:
            return ActionState.GOES_ON
        case Result.DONE:
            return ActionState.DONE
    return ActionState.NEW


def meaning_of(action: ScheduledAction, state: ActionState) -> str:
    """What a state means, whether it is final and what to do: at most a few sentences."""
    match state:
        case ActionState.NOT_AVAILABLE:
            return str(SHIPPED[action.key].needs)
        case ActionState.RUNNING | ActionState.DUE | ActionState.GOES_ON:
            return _meaning_at_work(state)
        case ActionState.FAILED | ActionState.LOST | ActionState.GIVEN_UP:
            return _meaning_of_trouble(state)
        case ActionState.NEW:
            return _("It has not run yet; it does so at its next call. Nothing needs to be done.")
        case ActionState.DONE:
            return _("The last run did all that there was to do. It runs again at its next call.")
        case ActionState.OFF:
            return _("It runs only when somebody presses Run Manually, until it is switched on again.")
    assert_never(state)


def _meaning_at_work(state: ActionState) -> str:
    if state is ActionState.RUNNING:
        return _("It is at work now. It cannot be changed until this run has ended, mostly within seconds.")
    if state is ActionState.DUE:
        return _(
            "Its time has come, and it runs within a minute. If it does not, the engine is not running: "
            "whoever runs this installation should start “postroom up”."
        )
    return _(
        "There was more to do than fits into one run. It goes on by itself after the other actions; nothing "
        "needs to be done."
    )


def _meaning_of_trouble(state: ActionState) -> str:
    if state is ActionState.FAILED:
        return _(
            "The last run failed; what it had done before that stays done. It is tried again at its next "
            "call. If it keeps failing, show the error to whoever runs this installation: after 5 failures "
            "and more than 7 days it is switched off."
        )
    if state is ActionState.LOST:
        return _(
            "The last run never came back: what worked on it was stopped or hung. What it had done stays "
            "done, and the next run does the rest. If it happens often, tell whoever runs this installation."
        )
    return _(
        "It failed at least 5 times over more than 7 days and was switched off. It stays off until somebody "
        "acts: read the error, mend its cause, press Run Manually, and once that is done switch it on."
    )


# How often.


def every(action: ScheduledAction, local: datetime) -> str:
    """The interval, with the hour of the clock where it has one; `local` is one of its calls in its zone."""
    count, words = action.interval, _EVERY[action.unit]
    return words(count) % {
        "count": count,
        "time": date_format(local, "H:i"),
        "weekday": date_format(local, "l"),
        "day": local.day,
    }


_EVERY: Mapping[str, Callable[[int], str]] = {
    ScheduledAction.Unit.MINUTES: lambda count: ngettext("every minute", "every %(count)d minutes", count),
    ScheduledAction.Unit.HOURS: lambda count: ngettext("every hour", "every %(count)d hours", count),
    ScheduledAction.Unit.DAYS: lambda count: ngettext(
        "every day at %(time)s", "every %(count)d days at %(time)s", count
    ),
    ScheduledAction.Unit.WEEKS: lambda count: ngettext(
        "every week, %(weekday)s at %(time)s", "every %(count)d weeks, %(weekday)s at %(time)s", count
    ),
    ScheduledAction.Unit.MONTHS: lambda count: ngettext(
        "every month, on day %(day)d at %(time)s", "every %(count)d months, on day %(day)d at %(time)s", count
    ),
}


def duration(seconds: float) -> str:
    """How long a run took."""
    if seconds < 0.1:
        return _("less than 0.1 s")
    if seconds < 9.95:
        return _("%(seconds)s s") % {"seconds": number_format(round(seconds, 1), 1)}
    minutes, rest = divmod(round(seconds), 60)
    if minutes:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    return _("%(seconds)s s") % {"seconds": rest}


def counts_words(counts: Mapping[str, int]) -> str:
    """What a run has done, such as "1,200 released emails"; "" if it tells of nothing."""
    return ", ".join(_count_words(what, count) for what, count in counts.items())


def _count_words(what: str, count: int) -> str:
    """A run of another version may have counted what has no words here."""
    words = _COUNTED[what](count) if what in _COUNTED else f"%(count)s {what.replace('%', '%%')}"
    return words % {"count": number_format(count, force_grouping=True)}


_COUNTED: Mapping[str, Callable[[int], str]] = {
    "released emails": lambda n: ngettext("%(count)s released email", "%(count)s released emails", n),
    "started campaigns": lambda n: ngettext("%(count)s started campaign", "%(count)s started campaigns", n),
    "finished campaigns": lambda n: ngettext(
        "%(count)s finished campaign", "%(count)s finished campaigns", n
    ),
    "campaigns left to Mail: Email Queue Manager": lambda n: ngettext(
        "%(count)s campaign left to Mail: Email Queue Manager",
        "%(count)s campaigns left to Mail: Email Queue Manager",
        n,
    ),
    "messages that were due": lambda n: ngettext(
        "%(count)s message that was due", "%(count)s messages that were due", n
    ),
    "of them not put together": lambda n: ngettext(
        "%(count)s of them not put together", "%(count)s of them not put together", n
    ),
    "texts of sent messages removed": lambda n: ngettext(
        "%(count)s text of a sent message removed", "%(count)s texts of sent messages removed", n
    ),
    "old attempts removed": lambda n: ngettext(
        "%(count)s old attempt removed", "%(count)s old attempts removed", n
    ),
    "old events removed": lambda n: ngettext(
        "%(count)s old event removed", "%(count)s old events removed", n
    ),
    "read notifications removed": lambda n: ngettext(
        "%(count)s read notification removed", "%(count)s read notifications removed", n
    ),
    "old refusals removed from the incoming log": lambda n: ngettext(
        "%(count)s old refusal removed from the incoming log",
        "%(count)s old refusals removed from the incoming log",
        n,
    ),
    "answers to repeated requests forgotten": lambda n: ngettext(
        "%(count)s answer to repeated requests forgotten",
        "%(count)s answers to repeated requests forgotten",
        n,
    ),
    "settled scheduled messages removed": lambda n: ngettext(
        "%(count)s settled scheduled message removed", "%(count)s settled scheduled messages removed", n
    ),
    "stale triggers removed": lambda n: ngettext(
        "%(count)s stale trigger removed", "%(count)s stale triggers removed", n
    ),
    "unused files removed": lambda n: ngettext(
        "%(count)s unused file removed", "%(count)s unused files removed", n
    ),
    "domains checked": lambda n: ngettext("%(count)s domain checked", "%(count)s domains checked", n),
    "domains that were right and no longer are": lambda n: ngettext(
        "%(count)s domain that was right and no longer is",
        "%(count)s domains that were right and no longer are",
        n,
    ),
}


def waiting_words(key: str, count: int, *, is_more: bool) -> str:
    """What waits for an action; "" if nothing does. `is_more`: there are more than `count`."""
    if not count:
        return ""
    shown = number_format(count, force_grouping=True) + ("+" if is_more else "")
    if key == MAIL_QUEUE:
        words = ngettext("%(count)s email waits for it", "%(count)s emails wait for it", count)
    elif key == MAILING_QUEUE:
        words = ngettext("%(count)s campaign waits for it", "%(count)s campaigns wait for it", count)
    else:
        words = ngettext("%(count)s message waits for it", "%(count)s messages wait for it", count)
    return words % {"count": shown}


def manual_warning(key: str) -> str:
    """What to know before running an action by hand, where that does not help; "" where it does no harm."""
    if key == MAILING_QUEUE:
        return _(
            "The queue runs by itself as soon as a campaign is to be sent. Running it by hand again and "
            "again does not make it faster and may cause errors: campaigns leave one after another, in the "
            "order in which they were made."
        )
    return ""
