"""System Parameters: what a workspace may set for itself, with the defaults."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.workspaces.models import MailDomain, SystemParameter
from postroom.workspaces.refusals import RequestRefused

_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        """Read it. Raises ValueError."""
        if not _DIGITS.fullmatch(text.strip()):  # int() takes signs, underscores and the digits of any script
            raise ValueError(text)
        number = int(text)
        if not self.low <= number <= self.high:
            raise ValueError(text)
        return number

    def __str__(self) -> str:
        return _("a whole number from %(low)d to %(high)d") % {"low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Wholes:
    """Several of them, up to `count`, with commas between."""

    each: Whole
    count: int

    def __call__(self, text: str) -> tuple[int, ...]:
        """Read them. Raises ValueError."""
        parts = text.split(",")
        if len(parts) > self.count:
            raise ValueError(text)
        return tuple(map(self.each, parts))

    def __str__(self) -> str:
        words = _("up to %(count)d whole numbers from %(low)d to %(high)d, with commas between")
        return words % {"count": self.count, "low": self.each.low, "high": self.each.high}


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    def __call__(self, text: str) -> bool:
        """Read it. Raises ValueError."""
        word = text.strip().lower()
        if word not in ("on", "off"):
            raise ValueError(text)
        return word == "on"

    def __str__(self) -> str:
        return _("on or off")


@dataclass(frozen=True, slots=True)
class LocalPart:
    """A local part of at most `length` characters or, if `may_be_whole`, a whole address."""

    length: int
    may_be_whole: bool = False

    def __call__(self, text: str) -> str:
        """Read it; whether it makes an address is for the domain to say. Raises ValueError."""
        text = text.strip().lower()
        if not 0 < len(text) <= self.length or ("@" in text and not self.may_be_whole):
            raise ValueError(text)
        return text

    def __str__(self) -> str:
        if self.may_be_whole:
            return _("the part of an address before the @, or a whole address")
        return _("the part of an address before the @, at most %(count)d characters") % {"count": self.length}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that can be set: its default as text, how text is read, and what it is for.

    `parse` raises ValueError for text that it cannot read, and as text it says what it takes. `follows` names
    the parameter whose value holds as long as this one is not set; `default` is then that one's. `of_domain`
    names the field of the workspace's default mail domain in which the value is; nothing else stores it.
    """

    default: str
    parse: Callable[[str], Any]
    purpose: str | Promise
    follows: str = ""
    of_domain: str = ""


GAPS = Wholes(Whole(1, 7 * 86_400), 40)
HOURS, MEGABYTES, DAYS = Whole(1, 8760), Whole(1, 1000), Whole(1, 3650)

KNOWN: Mapping[str, Parameter] = {
    "mail.undo.seconds": Parameter(
        "0",
        Whole(0, 300),
        gettext_lazy("Seconds (300 at most) in which a message that was posted in the pages can be undone."),
    ),
    "mail.retry.gaps_seconds": Parameter(
        "60,300,900,1800,3600",
        GAPS,
        gettext_lazy("Seconds before the first, second, third … retry; the last one repeats."),
    ),
    "mail.retry.deadline_hours": Parameter(
        "48",
        HOURS,
        gettext_lazy("Hours after the first attempt when an email counts as Delivery Failed."),
    ),
    "mail.retry.bulk_gaps_seconds": Parameter(
        "60,300,900,1800,3600",
        GAPS,
        gettext_lazy("The same seconds for bulk mail; if not set, those of urgent mail."),
        follows="mail.retry.gaps_seconds",
    ),
    "mail.retry.bulk_deadline_hours": Parameter(
        "48",
        HOURS,
        gettext_lazy("The same hours for bulk mail; if not set, those of urgent mail."),
        follows="mail.retry.deadline_hours",
    ),
    "mail.default.max_size_megabytes": Parameter(
        "10",
        MEGABYTES,
        gettext_lazy("How large an email may be where its outgoing server does not say."),
    ),
    "mail.quota.auto_resume": Parameter(
        "on",
        Switch(),
        gettext_lazy(
            "What is over the daily limit: on, it waits and leaves by itself after 23:00 UTC; "
            "off, it becomes Delivery Failed and waits for Retry."
        ),
    ),
    "mail.quota.urgent_share_percent": Parameter(
        "20",
        Whole(0, 100),
        gettext_lazy("The share of the daily limit that is kept for urgent mail, in percent."),
    ),
    "mail.bounce.alias": Parameter(
        "bounce",
        LocalPart(20),
        gettext_lazy("The bounce alias of the default mail domain: where delivery reports come back."),
        of_domain="bounce_local_part",
    ),
    "mail.catchall.alias": Parameter(
        "catchall",
        LocalPart(20),
        gettext_lazy("The catchall of the default mail domain: where replies come back."),
        of_domain="catchall_local_part",
    ),
    "mail.default.from": Parameter(
        "notifications",
        LocalPart(254, may_be_whole=True),
        gettext_lazy(
            "What mail goes out from where its author's own address may not be used, on the default mail "
            "domain; a whole address is used for all mail."
        ),
        of_domain="from_local_part",
    ),
    "mail.campaigns.by_queue": Parameter(
        "off",
        Switch(),
        gettext_lazy(
            "When campaigns leave: off, one after another by Mail Marketing: Process queue; "
            "on, with the runs of Mail: Email Queue Manager."
        ),
    ),
    "mail.attachment.limit_megabytes": Parameter(
        "10", MEGABYTES, gettext_lazy("How large the attachments of one email may be together.")
    ),
    "mail.attachment.link_days": Parameter(
        "90",
        DAYS,
        gettext_lazy("Days for which the links to files work that were too large to be mailed."),
    ),
    "mail.vacuum.sent_days": Parameter(
        "14",
        DAYS,
        gettext_lazy(
            "Days for which what was sent stays under Sent and its text is kept as it was mailed; "
            "the conversation shows for longer what became of it."
        ),
    ),
    "mail.vacuum.attempts_days": Parameter(
        "180",
        DAYS,
        gettext_lazy("Days after which of each email's attempts only the last one is kept."),
    ),
    "mail.vacuum.events_days": Parameter(
        "365",
        DAYS,
        gettext_lazy("Days for which is kept how a message went out in detail, once it is settled."),
    ),
}


def value(workspace_id: int, key: str) -> Any:
    """What is set for a workspace, or the default; in the type that the parameter's `parse` gives.

    A stored text that cannot be read any more counts as not set. Raises KeyError for an unknown key.
    """
    if KNOWN[key].of_domain:
        return read(key, set_in(workspace_id).get(key))
    stored = SystemParameter.objects.filter(workspace_id=workspace_id, key=key)
    text, followed = stored.values_list("value", flat=True).first(), KNOWN[key].follows
    return value(workspace_id, followed) if text is None and followed else read(key, text)


def set_in(workspace_id: int) -> dict[str, str]:
    """By key, what a workspace has set otherwise than the default, its default mail domain included."""
    found = dict(SystemParameter.objects.filter(workspace_id=workspace_id).values_list("key", "value"))
    fields = {known.of_domain: key for key, known in KNOWN.items() if known.of_domain}
    domain = MailDomain.objects.filter(workspace_id=workspace_id, is_default=True).values(*fields).first()
    here = {key: str(domain[field]) for field, key in fields.items()} if domain else {}
    return found | {key: text for key, text in here.items() if text != KNOWN[key].default}


def read(key: str, text: str | None) -> Any:
    """What a stored text (None: nothing is set) stands for, as `value` gives it."""
    parameter = KNOWN[key]
    try:
        return parameter.parse(parameter.default if text is None else text)
    except ValueError:
        return parameter.parse(parameter.default)


def put(workspace_id: int, key: str, text: str) -> None:
    """Set a parameter; an empty text goes back to the default. Raises RequestRefused.

    One that is `of_domain` is not stored here: `flows.arranging.set_parameter` writes the domain.
    """
    refuse_unfit(key, text)
    if not text.strip():
        SystemParameter.objects.filter(workspace_id=workspace_id, key=key).delete()
        return
    SystemParameter.objects.update_or_create(
        workspace_id=workspace_id, key=key, defaults={"value": text.strip()}
    )


def refuse_unfit(key: str, text: str) -> None:
    """Raise RequestRefused for an unknown key, and for a text that it does not take; empty is the default."""
    if key not in KNOWN:
        raise RequestRefused(_("There is no system parameter %(key)s.") % {"key": key})
    if not text.strip():
        return
    try:
        _refuse_long(text)
        KNOWN[key].parse(text.strip())
    except ValueError as error:
        words = _("“%(text)s” cannot be used for %(key)s, which takes %(allowed)s.")
        raise RequestRefused(words % {"text": text[:60], "key": key, "allowed": KNOWN[key].parse}) from error


def _refuse_long(text: str) -> None:
    if len(text.strip()) > 500:  # as much as the column takes
        raise ValueError(text)
