"""What arrived at the built-in SMTP target, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from postroom.smtp.target_store import TargetMail, TargetStore
from postroom.wire.headers import scan_headers
from postroom.wire.parse import parse

SHOWN = 200


@dataclass(frozen=True, slots=True)
class Arrived:
    """One mail that the target took, as its list shows it."""

    id: str
    received_at: datetime
    reverse_path: str
    forward_path: str
    subject: str


@dataclass(frozen=True, slots=True)
class ArrivedWhole:
    """The same with its content; `html` is None if it has none, and not sanitised: show it in a sandbox."""

    mail: Arrived
    headers: str
    text: str
    html: str | None


def folder() -> Path:
    """Where the target keeps what it was given."""
    return Path(settings.POSTROOM_DATA) / "target"


def exists() -> bool:
    """Does the mail of this installation go to the built-in target?"""
    return folder().is_dir()


def arrived(address: str = "") -> list[Arrived]:
    """The newest mails first, at most SHOWN; only those to `address` if one is given."""
    return [_listed(mail) for mail in TargetStore(folder()).list(SHOWN, address or None)]


def arrived_whole(mail_id: str) -> ArrivedWhole | None:
    """One mail with its content, None if there is none of that number."""
    mail = TargetStore(folder()).get(mail_id)
    if mail is None:
        return None
    parsed = parse(mail.octets)
    header_block = mail.octets.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    return ArrivedWhole(_listed(mail), header_block.replace("\r\n", "\n"), parsed.text, parsed.html)


def _listed(mail: TargetMail) -> Arrived:
    subject = scan_headers(mail.octets).text("Subject")
    return Arrived(mail.id, mail.received_at, mail.reverse_path, mail.forward_path, subject)
