"""What goes into the client and what comes out: one mail object in, exactly one `Settled` out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from postroom.wire.reply import Outcome, Reply


@dataclass(frozen=True, slots=True)
class MailObject:
    """An envelope with exactly one forward-path, and its content.

    The paths are without angle brackets; an empty `reverse_path` is the null reverse-path. `content` is
    octets with CRLF line ends, not dot-stuffed unless `is_stuffed`: then it also ends in CRLF. `key` is the
    caller's own name for it.
    """

    key: int
    reverse_path: bytes
    forward_path: bytes
    content: bytes
    is_stuffed: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """How one mail object ended.

    `reply` is the deciding one, None if the relay gave none. `seconds` run from its MAIL command. `began` is
    True once its content was sent: with UNCERTAIN the relay may have taken it, with UNREACHABLE it cannot.
    """

    key: int
    outcome: Outcome
    reply: Reply | None
    seconds: float
    was_tls: bool
    began: bool


class Journal(Protocol):
    """Notes that outlive a crash. Both are called in the loop thread and must be cheap and synchronous."""

    def begun(self, key: int) -> None:
        """The content with its final dot is about to be written."""

    def replied(self, key: int, reply: Reply) -> None:
        """The reply to the final dot arrived."""


class Feed(Protocol):
    """Where mails come from and outcomes go. Both are called in the loop thread."""

    def next(self) -> MailObject | None:
        """Return the next mail, None if there is nothing now (`Connections.kick()` after more came)."""

    def settled(self, settled: Settled) -> None:
        """Take the outcome of one mail."""
