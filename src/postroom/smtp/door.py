"""What a listener asks of its owner, and within which limits it lets strangers in."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from postroom.wire.reply import Reply

Answer = Reply | Awaitable[Reply]
MIB = 1024 * 1024


class HangUp(Exception):
    """Raised in a door: the connection is closed without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """How much a stranger may ask for. Beyond it the answer is 4yz or 5yz, and memory stays bounded.

    `held_octets` bounds the content of all unfinished mails together. `errors` bounds wrong commands,
    `junk` those without mail (NOOP, RSET, VRFY ...) and `excess_recipients` those that are put off to
    another transaction, each since the last accepted mail. A content that arrives slower than
    `least_octets_per_second` is cut after `slow_start_seconds`.
    """

    content_octets: int = 50 * MIB
    held_octets: int = 256 * MIB
    line_octets: int = 2048
    buffer_octets: int = 256 * 1024
    recipients: int = 100
    excess_recipients: int = 10_000
    errors: int = 20
    junk: int = 100
    connections: int = 400
    connections_per_peer: int = 50
    idle_seconds: float = 300.0
    data_seconds: float = 600.0
    slow_start_seconds: float = 30.0
    least_octets_per_second: float = 100.0
    sweep_seconds: float = 1.0


@dataclass(slots=True)
class Session:
    """One connection, seen from the door: `peer` is the IP address, `helo` what the client calls itself.

    `reverse_path` is that of the mail transaction under way, empty for the null one and between transactions.
    """

    peer: str
    id: str
    helo: str = ""
    is_tls: bool = False
    accepted_count: int = 0
    refused_count: int = 0
    reverse_path: str = ""


@dataclass(slots=True)
class Transaction:
    """One mail transaction.

    Paths are without angle brackets and exactly as given; an empty `reverse_path` is the null one.
    `declared_octets` is the SIZE parameter. `content` is dot-unstuffed with CRLF line ends only.
    """

    reverse_path: str
    forward_paths: list[str] = field(default_factory=list)
    content: bytes = b""
    declared_octets: int | None = None
    is_smtputf8: bool = False


class Door(Protocol):
    """Decides about recipients and takes content. A method may return its Reply or an awaitable of it.

    A 2yz to `content` means: this mail is ours now. An exception is answered with 451 and logged. A reply
    with the code 421 closes the connection after it, `HangUp` without one.
    """

    def recipient(self, session: Session, forward_path: str) -> Answer:
        """Answer RCPT TO."""

    def content(self, session: Session, transaction: Transaction) -> Answer:
        """Answer the final dot."""


class SenderDoor(Door, Protocol):
    """A door that wants to hear the reverse-path as well."""

    def sender(self, session: Session, reverse_path: str, size: int | None) -> Answer:
        """Answer MAIL FROM; `size` is what the client declared in octets, None if it did not."""


class DataDoor(Door, Protocol):
    """A door that wants to be asked before content is invited."""

    def data(self, session: Session, transaction: Transaction) -> Answer:
        """Answer DATA: a 2yz or 3yz invites the content, anything else is the reply."""
