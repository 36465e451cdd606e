"""The scheduled actions that every workspace has, and how they are set until somebody changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from postroom.schedule.models import ScheduledAction

Unit = ScheduledAction.Unit
MAIL_QUEUE = "mail_queue"
MAILING_QUEUE = "mailing_queue"
SCHEDULED_MESSAGES = "scheduled_messages"
AUTO_VACUUM = "auto_vacuum"
DNS_CHECK = "dns_check"


@dataclass(frozen=True, slots=True)
class Shipped:
    """An action as it is shipped. `name` is a name: it is the same in every language.

    `purpose` is one sentence. `is_slow`: it asks the network or goes through everything there is, so that
    it has no place in one line with what others wait for. `needs`, where it is not "", says which part of
    Postroom is missing: such an action is off, and can neither be switched on nor run.
    """

    key: str
    name: str
    purpose: str | Promise
    interval: int
    unit: str
    priority: int = 5
    is_slow: bool = False
    needs: str | Promise = ""

    @property
    def is_available(self) -> bool:
        """Does this version have what the action works on?"""
        return not self.needs


_ALL = (
    Shipped(
        MAIL_QUEUE,
        "Mail: Email Queue Manager",
        _("Lets bulk mail leave that waits for its turn, and looks after everything else that is due."),
        60,
        Unit.MINUTES,
        priority=6,
    ),
    Shipped(
        MAILING_QUEUE,
        "Mail Marketing: Process queue",
        _("Gives waiting campaigns their turn, one after another, the earliest first."),
        1,
        Unit.DAYS,
        priority=6,
    ),
    Shipped(
        "mailing_ab",
        "Mail Marketing: A/B Testing",
        _("Chooses the winner of an A/B test and sends it."),
        1,
        Unit.DAYS,
        needs=_("This version of Postroom has no A/B campaigns, so there is nothing for this action to do."),
    ),
    Shipped(
        "fetchmail",
        "Mail: Fetchmail Service",
        _("Fetches incoming mail from mailboxes."),
        5,
        Unit.MINUTES,
        is_slow=True,
        needs=_("This version of Postroom fetches from no mailboxes: mail comes in at its own front door."),
    ),
    Shipped(
        SCHEDULED_MESSAGES,
        "Notification: post and notify scheduled messages",
        _("Posts scheduled messages that are due, should one have missed its own time."),
        60,
        Unit.MINUTES,
    ),
    Shipped(
        AUTO_VACUUM,
        "Base: Auto-Vacuum",
        _("Removes what has served its time: old mail, attempts, notifications and files."),
        1,
        Unit.DAYS,
        priority=3,
        is_slow=True,
    ),
    Shipped(
        DNS_CHECK,
        "DNS check",
        _("Asks DNS whether the mail domains are still set up as mail needs it."),
        60,
        Unit.MINUTES,
        is_slow=True,
    ),
    Shipped(
        "webhook_retries",
        "Webhook retries",
        _("Tries again what a webhook did not take."),
        5,
        Unit.MINUTES,
        is_slow=True,
        needs=_("This version of Postroom has no webhooks, so there is nothing for this action to do."),
    ),
)
SHIPPED: Mapping[str, Shipped] = MappingProxyType({shipped.key: shipped for shipped in _ALL})
SLOW = frozenset(shipped.key for shipped in _ALL if shipped.is_slow)


def named(text: str) -> Shipped | None:
    """The action that a person means by its key or by its name, in any case; None: there is none."""
    wanted = text.strip().casefold()
    return next((one for one in _ALL if wanted in (one.key, one.name.casefold())), None)
