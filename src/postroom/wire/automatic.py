"""Robot or person: mail that nobody wrote must not be answered and opens no record (RFC 3834)."""

import re
from collections.abc import Callable
from typing import Final

from postroom.wire.headers import Headers

# RFC 3834 §5, and what keeps Outlook's out-of-office replies quiet. No Precedence: it is not defined, and
# says of a mail to one person that it went to many.
MARKS_OF_AUTOMATIC_MAIL: Final = (
    ("Auto-Submitted", "auto-generated"),
    ("X-Auto-Response-Suppress", "OOF, AutoReply"),
)
_BULK: Final = frozenset(["bulk", "junk", "list", "auto_reply", "auto-reply"])
_ROBOTS: Final = re.compile(r"(?:mailer[-_.]?daemon|postmaster)(?:[+-].*)?")
_MARKS: Final = ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply")


def why_automatic(headers: Headers, reverse_path: str) -> str | None:
    """Say why a mail is taken for automatic, as a stable word; None if a person seems to have written it.

    `reverse_path` is the one of the envelope, empty or `<>` for the null reverse-path. The words, by weight:
    auto-submitted, null-reverse-path, auto-reply-header, response-suppressed, precedence, list, report,
    robot-sender. No single header marks every robot, so each is looked for.
    """
    return next((word for word, is_found in _SIGNS.items() if is_found(headers, reverse_path)), None)


def _is_auto_submitted(headers: Headers, _: str) -> bool:
    """Any value but "no" counts (RFC 3834 §5)."""
    return any(_first_word(value) not in ("no", "") for value in headers.get_all("Auto-Submitted"))


def _has_null_reverse_path(_: Headers, reverse_path: str) -> bool:
    return reverse_path.strip() in ("", "<>")


def _has_auto_reply_header(headers: Headers, _: str) -> bool:
    return any(_first_word(value) != "no" for name in _MARKS for value in headers.get_all(name))


def _suppresses_responses(headers: Headers, _: str) -> bool:
    """Count only what says that a robot speaks, or that no reply at all is wanted.

    People's own mail programs ask to suppress read receipts, which says nothing about who wrote.
    """
    asked = ",".join(headers.get_all("X-Auto-Response-Suppress")).lower()
    return not {"all", "autoreply"}.isdisjoint(word.strip() for word in asked.split(","))


def _has_bulk_precedence(headers: Headers, _: str) -> bool:
    return any(_first_word(value) in _BULK for value in headers.get_all("Precedence"))


def _is_from_a_list(headers: Headers, _: str) -> bool:
    return "List-Id" in headers


def _is_report(headers: Headers, _: str) -> bool:
    return _first_word(headers.get("Content-Type") or "") == "multipart/report"


def _has_robot_sender(headers: Headers, reverse_path: str) -> bool:
    senders = [reverse_path.strip("<> ").lower(), *(box.addr_spec for box in headers.mailboxes("From", 5))]
    if any(_ROBOTS.fullmatch(sender.rpartition("@")[0]) for sender in senders):
        return True
    return bool(_ROBOTS.fullmatch(_first_word(headers.get("From") or "")))


def _first_word(value: str) -> str:
    return re.split(r"[\s;(,<]", value.strip().lower(), maxsplit=1)[0]


_SIGNS: Final[dict[str, Callable[[Headers, str], bool]]] = {
    "auto-submitted": _is_auto_submitted,
    "null-reverse-path": _has_null_reverse_path,
    "auto-reply-header": _has_auto_reply_header,
    "response-suppressed": _suppresses_responses,
    "precedence": _has_bulk_precedence,
    "list": _is_from_a_list,
    "report": _is_report,
    "robot-sender": _has_robot_sender,
}
