"""Delivery reports (RFC 3464), read and written.

A report is a `multipart/report` with a part for people, a `message/delivery-status` part with one block per
message and one per recipient, and the mail it is about, or its headers (RFC 6522).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.parser import BytesParser
from email.utils import format_datetime
from enum import StrEnum

from postroom.wire.reply import EnhancedStatus, Reply

COPY_MARK_HEADER = "X-Postroom-Copy"
_LONGEST_REPORT = 2 * 1024 * 1024
_MOST_PARTS = 200
_MOST_RECIPIENTS = 1000
_REPORT_TYPE = re.compile(rb"^content-type:\s*multipart/report\b", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]*:[ \t]*(.*)\Z", re.DOTALL)
_ORIGINAL_ID = ("Message-ID", "X-Microsoft-Original-Message-ID")


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
    """Read a report; None if the mail is none, or one without a delivery-status part. Never raises."""
    header_block = octets[: 256 * 1024].partition(b"\n\n")[0].partition(b"\r\n\r\n")[0]
    if not _REPORT_TYPE.search(header_block):
        return None
    octets = octets[:_LONGEST_REPORT]
    if octets.count(b"\n--") > 2 * _MOST_PARTS:
        return None
    try:
        return _read(BytesParser(policy=policy.compat32).parsebytes(octets))
    except (RecursionError, ValueError, LookupError):  # what the parser raises at nested or mistyped parts
        return None


def _read(mail: Message) -> DeliveryReport | None:
    parts = [part for _, part in zip(range(_MOST_PARTS), mail.walk(), strict=False)]
    status = next((part for part in parts if part.get_content_type() == "message/delivery-status"), None)
    if status is None:
        return None
    blocks = list(_blocks(status))
    original = _original_headers(parts)
    return DeliveryReport(
        reporting_mta=_typed(blocks[0].get("reporting-mta", "")) if blocks else "",
        recipients=tuple(_recipient(block) for block in blocks if "final-recipient" in block),
        original_message_id=next((v for name in _ORIGINAL_ID if (v := original.get(name.lower()))), None),
        original_copy_mark=original.get(COPY_MARK_HEADER.lower()),
        text=_human_text(parts),
    )


def _blocks(status: Message) -> Iterator[Mapping[str, str]]:
    """The blocks of the delivery-status part: the parser makes a message of each."""
    payload = status.get_payload()
    pieces = payload[: _MOST_RECIPIENTS + 1] if isinstance(payload, list) else []
    for piece in pieces:
        if not isinstance(piece, Message):
            continue
        fields = {name.lower(): " ".join(str(value).split()) for name, value in piece.items()}
        if fields:
            yield fields


def _recipient(block: Mapping[str, str]) -> RecipientReport:
    kind, _, diagnostic = block.get("diagnostic-code", "").partition(";")
    diagnostic = diagnostic.strip() or kind.strip()
    reply = Reply.parse([diagnostic.encode("utf-8", "replace")]) if kind.strip().lower() == "smtp" else None
    action = block.get("action", "").split(" ")[0].lower()
    return RecipientReport(
        final_recipient=_typed(block["final-recipient"]),
        original_recipient=_typed(block.get("original-recipient", "")),
        action=_ACTIONS.get(action),
        status=EnhancedStatus.parse(block.get("status", "")),
        diagnostic=reply if reply and reply.code else None,
        diagnostic_text=diagnostic,
        remote_mta=_typed(block.get("remote-mta", "")),
    )


def _typed(value: str) -> str:
    """The value of `type; value`, without angle brackets."""
    return value.rpartition(";")[2].strip().strip("<>")


def _original_headers(parts: list[Message]) -> Mapping[str, str]:
    for part in parts:
        if part.get_content_type() == "text/rfc822-headers":
            return _fields(_decoded(part))
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0) if part.is_multipart() else None
            if isinstance(inner, Message):
                return {name.lower(): " ".join(str(value).split()) for name, value in inner.items()}
    return {}


def _fields(text: str) -> Mapping[str, str]:
    unfolded = re.sub(r"\r?\n[ \t]+", " ", text[: 256 * 1024])
    matches = (_FIELD.match(line) for line in unfolded.splitlines())
    return {match[1].lower(): match[2].strip() for match in matches if match}


def _human_text(parts: list[Message]) -> str:
    for part in parts:
        if part.get_content_type() == "text/plain":
            return _decoded(part).strip()[:20_000]
    return ""


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    try:
        return octets.decode(part.get_content_charset() or "utf-8", "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


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
