"""Lines of the incoming log: what was taken, what was refused, and by whom it was brought."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from postroom.conversations.sanitise import showable
from postroom.incoming import replies
from postroom.incoming.counts import RecentCounts, network_of
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.incoming.reading import FirstLook
from postroom.wire.reply import Reply

HOUR_SECONDS = 3600.0
LINES_PER_NETWORK = 200
FOREIGN_LINES_PER_NETWORK = 20
FOREIGN_LINES = 1000
#: Lines that tell of mail that was not taken, and for how long they are kept.
NOT_TAKEN = (ReceivedState.REFUSED, ReceivedState.DUPLICATE)
REFUSALS_KEPT = timedelta(days=180)

_lines = RecentCounts(window_seconds=HOUR_SECONDS)
_REASONS = {
    replies.NOT_OURS: "relaying",
    replies.NOT_AN_ADDRESS: "malformed",
    replies.TOO_MANY_MISSES: "too_many_misses",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who brings a mail: the way it came (smtp, api, feed …), the peer's network address and its name."""

    source: str
    peer: str = ""
    helo: str = ""
    reverse_path: str = ""


def line(caller: Caller, forward_path: str, look: FirstLook | None = None, **fields: Any) -> ReceivedEmail:
    """A line, not saved yet, with everything that is known cut to what its columns hold."""
    known: dict[str, Any] = {
        "source": _cut(caller.source, 10),
        "peer": _cut(caller.peer, 64),
        "helo": _cut(caller.helo, 255),
        "reverse_path": _cut(caller.reverse_path, 320),
        "forward_path": _cut(forward_path, 320),
    }
    if look is not None:
        known["from_header"] = look.author
        known["subject"] = _cut(look.subject, 998)
        known["message_id_header"] = _cut(look.message_id, 998)
        known["identity"] = look.identity or ""
    return ReceivedEmail(**known, **fields)


def refuse_at_rcpt(caller: Caller, forward_path: str, reply: Reply) -> ReceivedEmail | None:
    """Note a recipient that was refused before any content came. Such lines belong to no workspace.

    Returns the line, None if it is one too many.

    At most 20 an hour from one network and 1000 an hour altogether, so that a flood of refusals, which
    costs its sender nothing, cannot fill the table.
    """
    network = network_of(caller.peer)
    if _lines.add(f"foreign {network}") > FOREIGN_LINES_PER_NETWORK or _lines.add("foreign") > FOREIGN_LINES:
        return None
    reason = _REASONS.get(reply, "refused")
    row = line(caller, forward_path, state=ReceivedState.REFUSED, reason=reason, **_of_reply(reply))
    row.save()
    return row


def note_ending(row: ReceivedEmail, state: ReceivedState, reason: str, reply: Reply) -> bool:
    """Save a line of a mail that ends here: refused, or received before. At most 200 an hour per network.

    False if it is one too many.
    """
    if _lines.add(network_of(row.peer)) > LINES_PER_NETWORK:
        return False
    row.state, row.reason = state, reason
    for name, value in _of_reply(reply).items():
        setattr(row, name, value)
    row.save()
    return True


def forget_counts() -> None:
    """Begin the hour again."""
    _lines.clear()


def _of_reply(reply: Reply) -> dict[str, Any]:
    return {"reply_code": reply.code, "reply_text": _cut(str(reply), 500)}


def _cut(text: str, length: int) -> str:
    return showable(text)[:length]
