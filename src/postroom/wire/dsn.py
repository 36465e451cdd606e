"""Delivery reports (RFC 3464), read and written.

A report is a `multipart/report` with a part for people, a `message/delivery-status` part with one block per
message and one per recipient, and the mail it is about, or its headers (RFC 6522).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime
from enum import StrEnum
from typing import Final

from postroom.wire.characters import one_line, readable
from postroom.wire.charsets import decode
from postroom.wire.compose import COPY_HEADER
from postroom.wire.headers import Headers, Limits, scan_headers
from postroom.wire.html_text import text_of_html
from postroom.wire.mime_reading import Leaf, walk
from postroom.wire.reply import EnhancedStatus, Reply
from postroom.wire.threads import message_ids

_LIMITS: Final = Limits(parts=100, depth=10)
_MOST_RECIPIENTS: Final = 1000
_TEXT_CHARACTERS: Final = 20_000
_BLANK_LINES: Final = re.compile(rb"\r?\n(?:[ \t]*\r?\n)+")
# A relay that replaced our Message-ID keeps it in the first of these.
_ORIGINAL_ID: Final = ("X-Microsoft-Original-Message-ID", "Message-ID")
_STATUS_TYPES: Final = frozenset(["message/delivery-status", "message/global-delivery-status"])
_ORIGINAL_TYPES: Final = frozenset(
    [
        *("message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "text/rfc822"),
        *("message/global", "message/global-headers"),
    ]
)


class Action(StrEnum):
    """What happened to the mail for one recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_ACTIONS: Mapping[str, Action] = {action.value: action for action in Action}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """One per-recipient block. Addresses are as reported, without their type; empty where not given.

    `diagnostic` is the Diagnostic-Code as a reply, None if it is not of type smtp or is no reply;
    `diagnostic_text` is its text in any case.
    """

    final_recipient: str
    original_recipient: str
    action: Action | None
    status: EnhancedStatus | None
    diagnostic: Reply | None
    diagnostic_text: str
    remote_mta: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """A whole report. `text` is what it says to people; the ids are those of the mail it is about."""

    reporting_mta: str
    recipients: tuple[RecipientReport, ...]
    original_message_id: str | None
    original_copy_mark: str | None
    text: str


def read_report(octets: bytes) -> DeliveryReport | None:
    """Read a report; None if the mail is none, or one without a delivery-status part. Never raises.

    Of a report with more than a thousand recipients the first thousand are read.
    """
    content_type = (scan_headers(octets, _LIMITS).get("Content-Type") or "").lstrip().lower()
    if not content_type.startswith("multipart/report"):
        return None
    _, leaves = walk(octets, _LIMITS, [])
    status = _first_leaf(leaves, _STATUS_TYPES)
    if status is None:
        return None
    blocks = list(_blocks(status.content(octets, [])))
    original = _original_headers(octets, leaves)
    return DeliveryReport(
        reporting_mta=_typed(blocks[0].get("Reporting-MTA")) if blocks else "",
        recipients=tuple(_recipient(block) for block in blocks if "Final-Recipient" in block),
        original_message_id=next(filter(None, (_identifier(original, name) for name in _ORIGINAL_ID)), None),
        original_copy_mark=original.text(COPY_HEADER) or None,
        text=_human_text(octets, leaves),
    )


def _first_leaf(leaves: Sequence[Leaf], content_types: Collection[str]) -> Leaf | None:
    return next((leaf for leaf in leaves if leaf.content_type in content_types), None)


def _blocks(content: bytes) -> Iterator[Headers]:
    """Yield the fields of the message, then those of each recipient."""
    pieces = _BLANK_LINES.split(content[: _LIMITS.text_octets].strip(), maxsplit=_MOST_RECIPIENTS + 1)
    for piece in pieces[: _MOST_RECIPIENTS + 1]:
        headers = scan_headers(piece, _LIMITS)
        if len(headers):
            yield headers


def _recipient(block: Headers) -> RecipientReport:
    kind, _, words = block.text("Diagnostic-Code").partition(";")
    is_smtp = kind.strip().lower() == "smtp"
    diagnostic = words.strip() or kind.strip()
    reply = Reply.parse([diagnostic.encode("utf-8", "replace")]) if is_smtp else None
    action = block.text("Action").split(" ")[0].lower()
    return RecipientReport(
        final_recipient=_typed(block.get("Final-Recipient")),
        original_recipient=_typed(block.get("Original-Recipient")),
        action=_ACTIONS.get(action),
        status=EnhancedStatus.parse(block.text("Status")),
        diagnostic=reply if reply and reply.code else None,
        diagnostic_text=diagnostic,
        remote_mta=_typed(block.get("Remote-MTA")),
    )


def _typed(value: str | None) -> str:
    """The value of `type; value`, without angle brackets."""
    kind, _, text = one_line(value or "").partition(";")
    return (text or kind).strip("<>; ")


def _original_headers(octets: bytes, leaves: Sequence[Leaf]) -> Headers:
    original = _first_leaf(leaves, _ORIGINAL_TYPES)
    return scan_headers(original.content(octets, []), _LIMITS) if original else Headers([])


def _identifier(headers: Headers, name: str) -> str | None:
    return next(iter(message_ids(headers.get(name) or "", 1)), None)


def _human_text(octets: bytes, leaves: Sequence[Leaf]) -> str:
    leaf = _first_leaf(leaves, ("text/plain", "text/html"))
    if leaf is None:
        return ""
    text = decode(leaf.content(octets, [])[: _LIMITS.text_octets], leaf.charset).replace("\r\n", "\n")
    text = text_of_html(text) if leaf.content_type == "text/html" else text
    return readable(text).strip()[:_TEXT_CHARACTERS]


def write_report(
    *,
    reporting_mta: str,
    recipient: str,
    status: EnhancedStatus,
    diagnostic: Reply | str,
    original: bytes,
    to: str,
    date: datetime,
    message_id: str,
    arrival_date: datetime,
) -> bytes:
    """Write a report that one recipient's mail failed, as octets with CRLF line ends.

    `original` is the mail it is about; its headers are returned. `date` and `arrival_date` are aware.
    """
    report = MIMEMultipart("report", policy=policy.SMTP)
    report.set_param("report-type", "delivery-status")
    report["From"] = f"Mail Delivery System <MAILER-DAEMON@{reporting_mta}>"
    report["To"] = to
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Date"] = format_datetime(date)
    report["Message-ID"] = message_id
    report["Auto-Submitted"] = "auto-replied"
    words = f"Your message could not be delivered to {recipient}.\n\nThe mail system said: {diagnostic}\n"
    report.attach(MIMEText(words, "plain", "us-ascii" if words.isascii() else "utf-8", policy=policy.SMTP))
    about_mail = {"Reporting-MTA": f"dns; {reporting_mta}", "Arrival-Date": format_datetime(arrival_date)}
    about_recipient = {
        "Final-Recipient": f"rfc822; {recipient}",
        "Action": (Action.DELAYED if status.klass == 4 else Action.FAILED).value,
        "Status": str(status),
        "Diagnostic-Code": "smtp; " + " ".join(str(diagnostic).split()),
        "Last-Attempt-Date": format_datetime(date),
    }
    report.attach(_status_part(about_mail, about_recipient))
    headers = EmailMessage(policy=policy.SMTP)
    headers.set_content(
        original.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\r\n", "\n") + "\n"
    )
    headers.replace_header("Content-Type", 'text/rfc822-headers; charset="utf-8"')
    report.attach(headers)
    return report.as_bytes(policy=policy.SMTP)


def _status_part(*blocks: Mapping[str, str]) -> Message:
    part = Message(policy=policy.SMTP)
    part["Content-Type"] = "message/delivery-status"
    part.set_payload([_block(fields) for fields in blocks])
    return part


def _block(fields: Mapping[str, str]) -> Message:
    block = Message(policy=policy.SMTP)
    for name, value in fields.items():
        block[name] = value
    return block
