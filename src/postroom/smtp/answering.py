"""What the built-in target writes back: a vacation reply and a report of a late failure."""

from __future__ import annotations

from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from postroom.smtp.target_store import TargetMail
from postroom.wire.dsn import write_report
from postroom.wire.headers import Headers, scan_headers
from postroom.wire.reply import EnhancedStatus, Reply
from postroom.wire.threads import message_ids, mint_message_id, references

AWAY = "I am away and will read your message when I am back.\r\n"


def report_for(
    mail: TargetMail, *, hostname: str, status: EnhancedStatus, unique: str, date: datetime
) -> bytes:
    """Write the report that a mail accepted before could not be delivered after all (RFC 3464)."""
    return write_report(
        reporting_mta=hostname,
        recipient=mail.forward_path,
        status=status,
        diagnostic=Reply(550, status, "The mailbox refused it after all"),
        original=mail.octets,
        to=mail.reverse_path,
        date=date,
        message_id=mint_message_id(unique, hostname),
        arrival_date=mail.received_at,
    )


def vacation_reply_to(
    mail: TargetMail, *, hostname: str, unique: str, date: datetime
) -> tuple[str, bytes] | None:
    """Return to whom a vacation reply goes and its octets (RFC 3834); None if nobody may get one.

    It goes to Reply-To, else From. A mail with the null reverse-path, or one that is itself such a reply,
    gets none.
    """
    headers = scan_headers(mail.octets)
    is_reply = (headers.get("Auto-Submitted") or "").strip().lower().startswith("auto-replied")
    mailboxes = headers.mailboxes("Reply-To") or headers.mailboxes("From")
    if not mailboxes or not mail.reverse_path or is_reply:
        return None
    to = mailboxes[0].addr_spec
    letter = EmailMessage(policy=SMTP)
    letter["From"] = mail.forward_path
    letter["To"] = to
    letter["Subject"] = f"Automatic reply: {headers.text('Subject')}"[:200].rstrip()
    letter["Date"] = format_datetime(date)
    letter["Message-ID"] = mint_message_id(unique, hostname)
    letter["Auto-Submitted"] = "auto-replied"
    for name, value in _ancestry(headers):
        letter[name] = value
    letter.set_content(AWAY, cte="7bit")
    return to, letter.as_bytes()


def _ancestry(headers: Headers) -> list[tuple[str, str]]:
    own = message_ids(headers.get("Message-ID") or "", 1)
    if not own:
        return []
    return [
        ("In-Reply-To", own[0]),
        ("References", references(message_ids(headers.get("References") or ""), own[0])),
    ]
