"""What the flows count of the mail they carry: the names of the metrics, and what their labels may hold.

Labels hold few different values: a server of a workspace is counted with all others of its kind unless
POSTROOM_METRICS_BY_WORKSPACE says otherwise, and the reason of a refusal is its status, never its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.conf import settings

from postroom.diagnostics import meters
from postroom.outgoing.models import MailServer
from postroom.outgoing.settling import Ended
from postroom.wire.reply import Outcome

ATTEMPTS = "postroom_attempts_total"
ATTEMPT_SECONDS = "postroom_attempt_seconds"
LATENCY_SECONDS = "postroom_queue_latency_seconds"
INBOUND = "postroom_inbound_emails_total"
ACTION_RUNS = "postroom_action_runs_total"
ACTION_FAILURES = "postroom_action_failures_total"
OF_WORKSPACES = "workspaces"
NO_REPLY = "no_reply"
SENT, DEFERRED, FAILED = "sent", "deferred", "failed"
_CHARTED = {
    Outcome.ACCEPTED: SENT,
    Outcome.DEFERRED: DEFERRED,
    Outcome.UNREACHABLE: DEFERRED,
    Outcome.REFUSED: FAILED,
    Outcome.UNCERTAIN: FAILED,
}


def is_by_workspace() -> bool:
    """May labels name workspaces and their servers?"""
    return bool(getattr(settings, "POSTROOM_METRICS_BY_WORKSPACE", False))


def label_of(server: MailServer) -> str:
    """How metrics name a server. Two workspaces may give theirs the same name, so its id stands with it."""
    if server.is_shared:
        return server.name
    return f"{server.name[:60]} ({server.pk})" if is_by_workspace() else OF_WORKSPACES


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


def action_ran(key: str, *, is_failed: bool) -> None:
    """Count a run of a scheduled action, and whether it failed."""
    meters.count(ACTION_RUNS, {"action": key})
    if is_failed:
        meters.count(ACTION_FAILURES, {"action": key})
