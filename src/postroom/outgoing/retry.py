"""When an Email is tried again, and when that ends: arithmetic only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from postroom.outgoing.models import FailureKind, State
from postroom.wire.reply import Outcome, Reply

JITTER = 0.1  # of a gap, so that what failed together does not come back together
THROTTLED_FREELY = (
    5  # so often an Email waits for its lane alone; then a gap of its own keeps it from blocking
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The gaps between attempts (the last one repeats), and how long after the first attempt to go on."""

    gaps_seconds: tuple[float, ...] = (60, 300, 900, 1800, 3600)
    deadline: timedelta = timedelta(hours=48)

    def gap_after(self, attempt_count: int) -> timedelta:
        """The gap after so many attempts (1 or more)."""
        return timedelta(seconds=self.gaps_seconds[min(attempt_count, len(self.gaps_seconds)) - 1])


PolicyOf = Callable[[int, str], RetryPolicy]  # by workspace and stream


@dataclass(frozen=True, slots=True)
class History:
    """What an Email went through before the attempt that is judged."""

    attempt_count: int = 0
    uncertain_count: int = 0
    first_attempt_at: datetime | None = None
    is_urgent: bool = True
    throttled_count: int = 0

    @property
    def gap_number(self) -> int:
        """The number of the gap after the next attempt: those that were throttled used none up."""
        return self.attempt_count - self.throttled_count + 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an Email: Sent, Delivery Failed with its kind, or Outgoing until `due_at`."""

    state: State
    due_at: datetime | None = None
    failure_kind: str = ""
    is_uncertain: bool = False
    is_throttled: bool = False


def verdict_on(
    outcome: Outcome,
    history: History,
    policy: RetryPolicy,
    *,
    now: datetime,
    jitter: float = 0.0,
    is_throttling: bool = False,
) -> Verdict:
    """Judge one attempt that ended at `now`; `jitter` lies between -1 and 1 and moves the next due time.

    4yz and an unreached server mean again after a gap, until the deadline; 5yz ends it at once. A 4yz that
    `is_throttling` slows the lane and not the mail: it stays due, its gap is not used up. Where the
    answer to the content is missing, urgent mail is sent once more under the same Message-ID, anything else
    may have arrived and is left to people (RFC 1047).
    """
    match outcome:
        case Outcome.ACCEPTED:
            return Verdict(State.SENT)
        case Outcome.REFUSED:
            return Verdict(State.FAILED, failure_kind=FailureKind.REFUSED)
        case Outcome.DEFERRED if is_throttling and history.throttled_count < THROTTLED_FREELY:
            return _as_soon_as_its_lane(history, policy, now)
        case Outcome.DEFERRED | Outcome.UNREACHABLE:
            return _again(history, policy, now, jitter)
        case Outcome.UNCERTAIN if history.is_urgent and history.uncertain_count == 0:
            due_at = next_attempt_at(history, policy, now=now, jitter=jitter)
            return Verdict(State.OUTGOING, due_at=due_at or now, is_uncertain=True)
        case Outcome.UNCERTAIN:
            return Verdict(State.FAILED, failure_kind=FailureKind.UNCERTAIN, is_uncertain=True)
        case _:
            assert_never(outcome)


def next_attempt_at(
    history: History, policy: RetryPolicy, *, now: datetime, jitter: float = 0.0
) -> datetime | None:
    """When to try again after an attempt at `now`, at the deadline at the latest; None if that has passed."""
    ends_at = _ends_at(history, policy, now)
    if now >= ends_at:
        return None
    gap = policy.gap_after(history.gap_number) * (1 + JITTER * jitter)
    return min(now + gap, ends_at)


def _ends_at(history: History, policy: RetryPolicy, now: datetime) -> datetime:
    return (history.first_attempt_at or now) + policy.deadline


def _again(history: History, policy: RetryPolicy, now: datetime, jitter: float) -> Verdict:
    due_at = next_attempt_at(history, policy, now=now, jitter=jitter)
    if due_at is None:
        return Verdict(State.FAILED, failure_kind=FailureKind.EXPIRED)
    return Verdict(State.OUTGOING, due_at=due_at)


def _as_soon_as_its_lane(history: History, policy: RetryPolicy, now: datetime) -> Verdict:
    if now >= _ends_at(history, policy, now):
        return Verdict(State.FAILED, failure_kind=FailureKind.EXPIRED)
    return Verdict(State.OUTGOING, due_at=now, is_throttled=True)


def words_of(reply: Reply | None) -> str:
    """The server's words as kept with an Email: code, enhanced status and text; empty without a reply."""
    return "" if reply is None else str(reply)


def hold_seconds(failure_count: int) -> float:
    """How long a server that was not reached so many times in a row (1 or more) is left alone."""
    doubled: float = 15.0 * 2 ** (min(failure_count, 10) - 1)
    return min(300.0, doubled)


def throttled_seconds(hold_count: int) -> float:
    """How long the lanes of a server are held that asked for less so many times in a row (1 or more)."""
    doubled: float = 30.0 * 2 ** (min(hold_count, 10) - 1)
    return min(900.0, doubled)
