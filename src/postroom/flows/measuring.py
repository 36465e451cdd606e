"""What the flows count of the mail they carry.

Labels hold few different values: a server of a workspace is counted with all others of its kind unless
POSTROOM_METRICS_BY_WORKSPACE says otherwise, and the reason of a refusal is its status, never its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from postroom.conversations.models.records import Stream
from postroom.diagnostics import meters
from postroom.diagnostics.metric_names import ATTEMPT_SECONDS, ATTEMPTS, INBOUND, LATENCY_SECONDS, label_of
from postroom.diagnostics.rules import is_known_status
from postroom.outgoing.claiming import Claimed
from postroom.outgoing.models import MailServer
from postroom.outgoing.settling import Ended
from postroom.wire.reply import Outcome

NO_REPLY = "no_reply"
SENT, DEFERRED, FAILED = "sent", "deferred", "failed"
_CHARTED = {
    Outcome.ACCEPTED: SENT,
    Outcome.DEFERRED: DEFERRED,
    Outcome.UNREACHABLE: DEFERRED,
    Outcome.REFUSED: FAILED,
    Outcome.UNCERTAIN: FAILED,
}


def attempts(server: MailServer, ended: Sequence[Ended], now: datetime) -> None:
    """Count a group of attempts that ended at a server: once for each outcome, not for each mail."""
    if not ended:
        return
    label = label_of(server)
    accepted = [each for each in ended if each.outcome is Outcome.ACCEPTED]
    others = (
        [each for each in ended if each.outcome is not Outcome.ACCEPTED] if len(accepted) < len(ended) else []
    )
    counts = Counter((str(each.outcome), _reason_of(each)) for each in others)
    if accepted:
        counts[(str(Outcome.ACCEPTED), "")] = len(accepted)
    for (outcome, reason), n in counts.items():
        meters.count(ATTEMPTS, {"server": label, "outcome": outcome, "reason": reason}, n)
        for of in ("", str(server.pk)):  # all servers together, and this one
            meters.chart(_CHARTED[Outcome(outcome)], of, n)
    meters.observe_all(ATTEMPT_SECONDS, {"server": label}, [each.seconds for each in ended])
    _latency([each.email for each in accepted], now)


def _latency(taken: Sequence[Claimed], now: datetime) -> None:
    for stream in Stream.values:
        due = [email.due_at for email in taken if email.stream == stream and email.due_at is not None]
        meters.observe_all(LATENCY_SECONDS, {"stream": stream}, [(now - at).total_seconds() for at in due])


def _reason_of(ended: Ended) -> str:
    """The enhanced status of what was not taken, else the code.

    A server can make up a million statuses, of which each would be one more series for ever: those that
    nobody knows are told by the code.
    """
    if ended.reply is None:
        return NO_REPLY
    enhanced = ended.reply.enhanced
    return str(enhanced if enhanced and is_known_status(enhanced) else ended.reply.code)


def received(verdict: str) -> None:
    """Count a mail that came in: stored, bounce, duplicate, refused, or deferred (trouble on our side)."""
    meters.count(INBOUND, {"verdict": str(verdict)})
