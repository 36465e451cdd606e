"""A first look at a mail: what routing and the incoming log need, from its header block alone."""

from __future__ import annotations

from dataclasses import dataclass

from postroom.conversations.sanitise import showable
from postroom.incoming.places import Place
from postroom.incoming.routing import Incoming
from postroom.wire.address import Mailbox
from postroom.wire.automatic import why_automatic
from postroom.wire.compose import COPY_HEADER
from postroom.wire.dsn import DeliveryReport, read_report
from postroom.wire.headers import Headers, Limits, read_header_block
from postroom.wire.identity import identity_of
from postroom.wire.threads import message_ids

REFERENCES = 32
LONGEST_AUTHOR = 400
_ROBOT_ANSWERS = ("auto-submitted", "auto-reply-header", "response-suppressed")
_SEEN = ("To", "Cc", "Delivered-To", "X-Original-To", "Envelope-To", "Resent-To", "Resent-Cc")


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the header block says. `sender` is None without a usable From; `report` None if it is no DSN.

    `identity` is the same for the same mail however often and over whichever way it comes; None for a mail
    with neither Message-ID nor Date, which says nothing to tell it from others.
    """

    headers: Headers
    sender: Mailbox | None
    subject: str
    message_id: str
    references: tuple[str, ...]
    to: frozenset[str]
    seen: tuple[str, ...]
    identity: str | None
    why_automatic: str | None
    report: DeliveryReport | None

    @property
    def sender_addr_spec(self) -> str:
        """The author's address, empty without a usable From."""
        return self.sender.addr_spec if self.sender else ""

    @property
    def author(self) -> str:
        """The author with name and address, as the incoming log keeps it."""
        return showable(str(self.sender or ""))[:LONGEST_AUTHOR]

    def incoming(self, reverse_path: str, places: list[Place]) -> Incoming:
        """What routing decides over, for these of the envelope's recipients."""
        return Incoming(
            sender=self.sender_addr_spec,
            author=self.author,
            reverse_path=reverse_path,
            places=places,
            to=self.to,
            references=self.references,
            hop_count=len(self.headers.get_all("Received")),
            why_automatic=self.why_automatic,
            is_report=self.report is not None,
            names_failed_recipient="X-Failed-Recipients" in self.headers,
            message_id=self.message_id,
            copy_mark=self.headers.get(COPY_HEADER) or "",
            is_robot_answer=why_automatic(self.headers, "somebody") in _ROBOT_ANSWERS,
        )


def look_at(octets: bytes, reverse_path: str) -> FirstLook:
    """Read the header block; never raises, whatever the octets are."""
    headers, body = read_header_block(octets, 0, len(octets), limits=Limits(), defects=[])
    senders = headers.mailboxes("From", limit=1)
    to = headers.mailboxes("To")
    seen = {mailbox.addr_spec: None for name in _SEEN for mailbox in headers.mailboxes(name)}
    named = message_ids(headers.get("Message-ID") or "", 1)
    return FirstLook(
        headers=headers,
        sender=senders[0] if senders else None,
        subject=headers.text("Subject"),
        message_id=named[0] if named else "",
        references=_references(headers),
        to=frozenset(mailbox.addr_spec for mailbox in to),
        seen=tuple(seen),
        identity=identity_of(octets, headers, body),
        why_automatic=why_automatic(headers, reverse_path),
        report=read_report(octets),
    )


def _references(headers: Headers) -> tuple[str, ...]:
    """The last 32 Message-IDs that it answers; the one of In-Reply-To counts as the last."""
    named = message_ids(headers.get("References") or "", REFERENCES)
    named += message_ids(headers.get("In-Reply-To") or "", REFERENCES)
    return tuple(dict.fromkeys(named))[-REFERENCES:]
