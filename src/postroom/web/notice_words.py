"""What a notice in the inbox says, and which page it leads to."""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

GRANTED = "granted:"  # and the figure

# reason → the sentence, and the name of the page where something can be done.
WORDS: Mapping[str, tuple[str | Promise, str]] = {
    "set_aside": (_("Mail that came in could not be read and was set aside."), "incoming"),
    "daily_limit_80": (_("The daily limit is nearly used up."), "limit"),
    "daily_limit_100": (
        _("The daily limit is used up. What waits leaves by itself the next day."),
        "limit",
    ),
    "daily_limit_failing": (
        _(
            "The daily limit is used up, and what is over it fails. Retry works once the day starts again at "
            "23:00 UTC, or once the limit is higher."
        ),
        "limit",
    ),
    "dkim_unreadable": (
        _("A DKIM key cannot be read any more, so mail leaves without its signature."),
        "domains",
    ),
    "dns_worse": (
        _("DNS no longer says what it should of a mail domain. See what is wrong, and publish it anew."),
        "domains",
    ),
    "server_down": (_("An outgoing server cannot be reached, and emails wait for it."), "servers"),
    "mail_slow": (_("Emails that are due do not leave; those who run this installation are told."), "emails"),
    "mail_slow_here": (
        _("Emails that are due do not leave. Queue health says which and why."),
        "operator_health",
    ),
    "mailing_stalled": (_("A mailing has sent nothing for half an hour."), "emails"),
    "mailing_stalled_here": (_("A mailing has sent nothing for half an hour."), "operator_health"),
    "long_down": (
        _("Emails have waited for an outgoing server for more than four hours."),
        "servers",
    ),
    "long_down_here": (
        _("Emails have waited for an outgoing server for more than four hours."),
        "operator_health",
    ),
    "action_given_up": (_("A scheduled action failed for a week and was switched off."), "actions"),
    "journal_set_aside": (
        _(
            "Notes of a worker that ended could not be read, so it is uncertain whether some emails arrived. "
            "The log names the file."
        ),
        "operator_health",
    ),
    "limit_asked": (_("A workspace asks for a higher daily limit."), "operator_workspaces"),
    "limit_declined": (_("The higher daily limit you asked for was declined; it stays as it is."), "limit"),
}


def words_of(reason: str) -> str:
    """The sentence for a reason; one that nobody knows is shown as it is."""
    if reason.startswith(GRANTED):
        words = gettext("The higher daily limit you asked for was granted: %(limit)s emails a day.")
        return words % {"limit": reason.removeprefix(GRANTED)}
    return str(WORDS[reason][0]) if reason in WORDS else reason


def page_of(reason: str) -> str:
    """Where the notice leads, "" if nowhere."""
    if reason.startswith(GRANTED):
        return reverse("limit")
    return reverse(WORDS[reason][1]) if reason in WORDS else ""
