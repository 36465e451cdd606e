"""Turns a server's reply into plain words in the reader's language."""

from __future__ import annotations

from dataclasses import dataclass

from postroom.diagnostics.reasons import BY_ID, Reason
from postroom.diagnostics.rules import RULES

# Failure kinds and reasons to hold or cancel that no reply has caused: they are their own explanation.
_SELF_EXPLAINING = {
    "uncertain": "uncertain",
    "invalid": "address_invalid",
    "captured": "captured",
    "no_server": "no_server",
    "server_archived": "server_archived",
    "server_unreachable": "server_unreachable",
    "throttled": "throttled",
    "unreached_too_long": "unreached_too_long",
    "unreachable": "server_unreachable",
    "daily_limit": "daily_limit",
    "cancelled": "cancelled",
    "member": "cancelled",
}
# What the same words mean of mail that is held: nobody has to do anything.
_HELD = {
    "daily_limit": "daily_limit_waits",
    "daily_limit_urgent_share": "daily_limit_waits",
    "rate_limit": "own_rate_limit",
}
_LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a failure means, in the language that was active when it was made; `reason` is a stable id."""

    reason: str
    what_happened: str
    who_must_act: str
    next_step: str
    is_retry_useful: bool


def explain(
    *, code: int | None = None, enhanced: str = "", text: str = "", failure_kind: str = ""
) -> Explanation:
    """Say what happened, who must act and what to do next.

    `code` and `enhanced` are the reply's (None or empty: there was none), `text` the server's words.
    `failure_kind` is a FailureKind, or why an Email is held or was cancelled. What no rule knows is
    said to be unknown; show the server's own words beside every explanation.
    """
    return _in_words(
        BY_ID[reason_of(code=code, enhanced=enhanced, text=text, failure_kind=failure_kind)], code
    )


def explain_hold(held_because: str) -> Explanation:
    """Say why mail is held, who must act and what to do; `held_because` is that of its lane."""
    if held_because in _HELD:
        return _in_words(BY_ID[_HELD[held_because]], None)
    return explain(failure_kind=held_because)


def reason_of(*, code: int | None, enhanced: str, text: str, failure_kind: str) -> str:
    """The id of the reason alone."""
    if failure_kind in _SELF_EXPLAINING:
        return _SELF_EXPLAINING[failure_kind]
    told = _told_by_reply(str(code or enhanced[:1]), enhanced, text[:_LONGEST_TEXT])
    return "expired" if failure_kind == "expired" and told in ("unknown_temporary", "server_busy") else told


def _told_by_reply(code: str, enhanced: str, text: str) -> str:
    for rule in RULES:
        if rule.fits(code=code, enhanced=enhanced, text=text):
            return rule.reason
    return "unknown_temporary" if code.startswith("4") else "unknown"


def _in_words(reason: Reason, code: int | None) -> Explanation:
    is_temporary = code is not None and 400 <= code < 500
    return Explanation(
        reason.id,
        str(reason.what_happened),
        str(reason.who_must_act),
        str(reason.next_step),
        reason.is_retry_useful or is_temporary,
    )
