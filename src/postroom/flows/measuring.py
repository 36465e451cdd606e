"""What the flows count of the mail they carry.

Labels hold few different values: a server of a workspace is counted with all others of its kind unless
POSTROOM_METRICS_BY_WORKSPACE says otherwise, and the reason of a refusal is its status, never its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from postroom.diagnostics import meters
from postroom.diagnostics.metric_names import ATTEMPT_SECONDS, ATTEMPTS, INBOUND, LATENCY_SECONDS, label_of
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
    for (outcome, reason), n in Counter((each.outcome, _reason_of(each)) for each in ended).items():
        meters.count(ATTEMPTS, {"server": label, "outcome": str(outcome), "reason": reason}, n)
    for outcome, n in Counter(each.outcome for each in ended).items():
        for of in ("", str(server.pk)):  # all servers together, and this one
            meters.chart(_CHARTED[outcome], of, n)
    meters.observe_all(ATTEMPT_SECONDS, {"server": label}, (each.seconds for each in ended))
    _latency([each for each in ended if each.outcome is Outcome.ACCEPTED], now)


def _latency(accepted: Iterable[Ended], now: datetime) -> None:
    waited: dict[str, list[float]] = {}
    for each in accepted:
        if each.email.due_at is not None:
            waited.setdefault(each.email.stream, []).append((now - each.email.due_at).total_seconds())
    for stream, seconds in waited.items():
        meters.observe_all(LATENCY_SECONDS, {"stream": stream}, seconds)


def _reason_of(ended: Ended) -> str:
    """The enhanced status, else the code, of what was not taken; "" of what was."""
    if ended.outcome is Outcome.ACCEPTED:
        return ""
    if ended.reply is None:
        return NO_REPLY
    return str(ended.reply.enhanced or ended.reply.code)


def received(verdict: str) -> None:
    """Count a mail that came in: stored, bounce, duplicate, refused, or deferred (trouble on our side)."""
    meters.count(INBOUND, {"verdict": str(verdict)})
