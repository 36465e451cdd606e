"""The two lanes on which scheduled actions run: one after another, and each once for all machines.

What asks the network or goes through everything there is has a lane of its own, so that nothing else waits
for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

from django.db import close_old_connections, connection, connections, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom import engine
from postroom.diagnostics import mail_log
from postroom.diagnostics.events import EventKind, note
from postroom.diagnostics.log_lines import Own
from postroom.engine import LaneKind
from postroom.flows import (
    action_words,
    dns_checking,
    mailing_turns,
    notices,
    releasing,
    scheduling,
    tracing,
    vacuuming,
)
from postroom.schedule import planning, running, triggers
from postroom.schedule.catalogue import (
    AUTO_VACUUM,
    DNS_CHECK,
    MAIL_QUEUE,
    MAILING_QUEUE,
    SCHEDULED_MESSAGES,
    SHIPPED,
)
from postroom.schedule.clock import by_own_clock, clock
from postroom.schedule.models import ScheduledAction
from postroom.schedule.running import Outcome, Result, Taken
from postroom.schedule.work import Run, Work
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

log = logging.getLogger("postroom.actions")
LANE, SLOW_LANE = triggers.LANE, triggers.SLOW_LANE
LEAST_PAUSE = timedelta(seconds=1)
BUDGET_SECONDS = 10.0
BEAT_SECONDS = 20.0
TELL_SECONDS = 2.0
LONGEST_SECONDS = 900.0
LONGEST_ERROR = 300
GIVEN_UP_NOTICE = "action_given_up"
_CREDENTIALS = re.compile(r"//[^/\s@]*@|(?i:(password|secret|token|key)\s*[=:]\s*)\S+")

#: What each action does.
WORK: Mapping[str, Work] = {
    SCHEDULED_MESSAGES: scheduling.post_overdue,
    AUTO_VACUUM: vacuuming.vacuum,
    DNS_CHECK: dns_checking.check_domains,
    MAIL_QUEUE: releasing.release_bulk,
    MAILING_QUEUE: mailing_turns.take_turns,
}


@dataclass(slots=True)
class Turn:
    """The run in hand, as the thread that does it and the beat that keeps its lease both see it."""

    action_id: int
    lease: str
    name: str
    counts: Counter[str] = field(default_factory=Counter)
    is_ours: bool = True
    begun: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    @property
    def is_stuck(self) -> bool:
        """Has it come to no end for so long that nobody should wait for it?"""
        return time.monotonic() - self.begun > LONGEST_SECONDS


@dataclass(slots=True)
class Hand:
    """What a drain has in hand (None: nothing just now), and whether its thread was given up."""

    turn: Turn | None = None
    is_given_up: bool = False


async def drain(lane: str) -> datetime | None:
    """Run what is due on the lane, each within its budget; return when the next one is due (None: none is).

    The lease of the run in hand is renewed beside it, for steps that take long. One that does not come to a
    safe point within `LONGEST_SECONDS` is left to itself: its lease runs out, which counts it as lost, and
    the others go on in another thread.
    """
    hand = Hand()
    runs = asyncio.ensure_future(asyncio.to_thread(_drain, hand, lane))
    while not (await asyncio.wait([runs], timeout=BEAT_SECONDS))[0]:
        if hand.turn is not None and hand.turn.is_stuck:
            _give_up(hand, hand.turn)
            return timezone.now()
        await asyncio.to_thread(_beat, hand)
    return runs.result()


def _give_up(hand: Hand, turn: Turn) -> None:
    """Nothing can end a thread from outside; it ends at its next safe point, lost by then if that is late."""
    log.error("Action %s has come to no safe point for %g s and is left alone", turn.name, LONGEST_SECONDS)
    hand.is_given_up, turn.is_ours = True, False


def keys_of(lane: str) -> list[str]:
    """The actions that run on a lane."""
    return [key for key in WORK if triggers.lane_of(key) == lane]


def due(lane: str = LANE) -> list[str]:
    """The lane, while anything lies ahead: its drain then says when to come back, to the second."""
    try:
        put_right()
        return [lane] if running.next_at(keys_of(lane)) is not None or running.has_lost() else []
    finally:
        connections.close_all()


KINDS = tuple(LaneKind(lane, drain, partial(due, lane)) for lane in (LANE, SLOW_LANE))


def _drain(hand: Hand, lane: str) -> datetime | None:
    try:
        triggers.drop_stale(clock())
        run_due(hand, keys_of(lane))
        next_at = running.next_at(keys_of(lane))
        # What is still due is in somebody's hands just now: asking again at once would only keep us busy.
        return by_own_clock(max(next_at, clock() + LEAST_PAUSE)) if next_at else None
    finally:
        connections.close_all()


def _beat(hand: Hand) -> None:
    turn = hand.turn
    try:
        if turn is not None:
            turn.is_ours = running.renew(turn.action_id, turn.lease, dict(turn.counts))
    except Exception:  # a database that does not answer now may do so at the next beat, before the lease ends
        log.exception("Could not renew the lease of a scheduled action")
    finally:
        connections.close_all()


def run_due(hand: Hand | None = None, keys: Collection[str] | None = None) -> int:
    """Run every action of `keys` (None: all) that is due, one by one; return how many runs that were.

    One with work left when its budget is over comes again behind the others, until all is done. Before each,
    what lost workers had in hand is given back: this may go on for days.
    """
    hand, run_count = hand or Hand(), 0
    while not (engine.is_stopping() or hand.is_given_up):
        if running.has_lost():
            recover(is_start=False)
        lease = uuid.uuid4().hex
        taken = running.take(lease, WORK.keys() if keys is None else keys)
        if taken is None:
            break
        action = taken.action
        hand.turn = turn = Turn(action.pk, lease, f"{action.key} of {action.workspace.slug}")
        _run(taken, turn)
        hand.turn = None
        run_count += 1
    return run_count


def _run(taken: Taken, turn: Turn) -> None:
    action = taken.action
    log.info("Action %s of %s begins (%s)", action.key, action.workspace.slug, taken.cause)
    with tracing.acting(action):
        outcome = _outcome(action, turn)
    close_old_connections()  # one that broke under the work is replaced before the end is written down
    now = clock()
    with transaction.atomic():
        after = running.finish(action.pk, turn.lease, outcome, now)
        if after is not None and after.deactivated_at == now:
            _tell(after)
    _log_end(action, outcome, after)


def _log_end(action: ScheduledAction, outcome: Outcome, after: ScheduledAction | None) -> None:
    where = (action.key, action.workspace.slug)
    if after is None:
        log.warning("Action %s of %s was no longer ours when it ended", *where)
        return
    mail_log.said_now(
        "action_ended",
        ("workspace", Own(action.workspace.slug)),
        ("action", Own(action.key)),
        ("result", Own(outcome.result)),
        ("seconds", after.last_seconds),
        ("counts", [f"{name} {count}" for name, count in outcome.counts.items()]),
        ("error", outcome.error),
        is_warning=outcome.result == Result.FAILED,
    )
    counts = ", ".join(f"{name} {count}" for name, count in outcome.counts.items()) or "nothing to count"
    if outcome.result == Result.FAILED:
        log.warning(
            "Action %s of %s failed after %.1f s: %s",
            *where,
            after.last_seconds,
            outcome.error,
            extra=mail_log.HAS_LINE,
        )
    else:
        log.info(
            "Action %s of %s %s in %.1f s: %s",
            *where,
            outcome.result,
            after.last_seconds,
            counts,
            extra=mail_log.HAS_LINE,
        )


def _outcome(action: ScheduledAction, turn: Turn) -> Outcome:
    try:
        is_done = _work_through(action, turn)
    except Exception as error:  # whatever the work of one action does wrong, the others run
        log.exception("Action %s of %s raised", action.key, action.workspace.slug)
        return Outcome(Result.FAILED, dict(turn.counts), one_line(error))
    return Outcome(Result.DONE if is_done else Result.UNFINISHED, dict(turn.counts))


def _work_through(action: ScheduledAction, turn: Turn) -> bool:
    """Go from safe point to safe point; False if it ends at one with work left."""
    ends_at = time.monotonic() + BUDGET_SECONDS
    run = Run(action, action.workspace, action.began_at or clock())
    with closing(cast("Any", _steps(run))) as steps:
        for counts in steps:
            _note_progress(turn, counts)
            if engine.is_stopping() or not turn.is_ours or time.monotonic() >= ends_at:
                return False
    return True


def _steps(run: Run) -> Iterator[Mapping[str, int]]:
    """The work as a generator, whatever iterator it is, so that it can be closed at a safe point."""
    yield from WORK[run.action.key](run)


def _note_progress(turn: Turn, counts: Mapping[str, int]) -> None:
    """The first thing that was done is written down at once: a worker that dies now has come somewhere.

    Later every two seconds, which shows whether somebody has switched the action off meanwhile.
    """
    had_come_somewhere = any(turn.counts.values())
    turn.counts.update(counts)
    is_first = not had_come_somewhere and any(turn.counts.values())
    if turn.is_ours and (is_first or time.monotonic() - turn.told >= TELL_SECONDS):
        turn.told = time.monotonic()
        turn.is_ours = running.renew(turn.action_id, turn.lease, dict(turn.counts))


def one_line(error: Exception) -> str:
    """What an exception says, for people: one line, not long, without what opens a door."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    shown = _CREDENTIALS.sub(lambda found: "//…@" if found[0].startswith("//") else "…", words)
    return shown if len(shown) <= LONGEST_ERROR else shown[: LONGEST_ERROR - 1] + "…"


# Workers that are gone, and actions that are given up.


def recover(*, is_start: bool = True) -> int:
    """Give back what lost workers had in hand; return how many runs were lost.

    At the start on SQLite there is no other engine, so nobody is waited for.
    """
    now = clock()
    with transaction.atomic():
        lost = running.recover(is_alone=is_start and connection.vendor == "sqlite", now=now)
        for action in lost:
            log.warning("Action %s of %s never came back", action.key, action.workspace.slug)
            if action.deactivated_at == now:
                _tell(action)
    return len(lost)


def _tell(action: ScheduledAction) -> None:
    """Failures switched it off: who administers the workspace or runs the installation must know."""
    note(EventKind.ACTION_GIVEN_UP, workspace=action.workspace, key=action.key, error=action.last_error)
    notices.tell_in_charge(action.workspace, GIVEN_UP_NOTICE)
    log.error(
        "Action %s of %s was switched off: it has failed %s times since %s",
        action.key,
        action.workspace.slug,
        action.failure_count,
        action.failing_since,
    )


def ensure_all() -> int:
    """Give every workspace the actions that it lacks; return how many were made."""
    return planning.ensure(Workspace.objects.order_by("pk"))


def get_ready() -> None:
    """What an engine does before it starts: every workspace has its actions, and nothing is in dead hands."""
    ensure_all()
    put_right()
    recover()


def put_right() -> None:
    """Bring forward what a clock that was ahead has put off."""
    if count := running.put_right():
        log.warning("The clock was ahead: the next calls of %s scheduled actions are brought forward", count)


# By hand.


def run_now(action: ScheduledAction, by: Member) -> tuple[str, ...]:
    """Let it run as soon as the engine comes to it, also if it is switched off; return what to be warned of.

    Raises RequestRefused for who is no administrator, for an action that this version cannot do, and while
    it runs or waits for its turn already.
    """
    refuse_unless_may_change(action, by)
    with transaction.atomic():
        rows = ScheduledAction.objects.select_for_update(no_key=True)
        row = rows.get(pk=action.pk)
        refuse_while_running(row)
        if running.is_waiting(row):
            raise RequestRefused(
                _("It waits for its turn already and runs as soon as those before it are done.")
            )
        triggers.trigger(row.workspace_id, row.key, by_hand=True)
        note(EventKind.ACTION_RUN, workspace=by.workspace, member=by, key=row.key)
    warning = action_words.manual_warning(action.key)
    return (warning,) if warning else ()


def refuse_unless_may_change(action: ScheduledAction, by: Member) -> None:
    """Raise RequestRefused unless `by` administers the action's workspace and this version can do it."""
    refuse_strangers(by.workspace_id, [action])
    if not by.is_admin:
        raise RequestRefused(_("Only an administrator may run or change scheduled actions."))
    shipped = SHIPPED.get(action.key)
    if shipped is None:
        raise RequestRefused(_("This version of Postroom does not know this action."))
    if not shipped.is_available:
        raise RequestRefused(str(shipped.needs))


class ActionRuns(RequestRefused):
    """It is at work, so it can be neither changed nor run; nothing was changed. A moment later it can."""


def refuse_while_running(action: ScheduledAction) -> None:
    """Raise ActionRuns while a worker has it in hand."""
    if action.is_running and action.began_at is not None:
        zone = planning.zone_of(action)
        since = action.began_at.astimezone(zone)
        words = _("It has been running since %(time)s (%(zone)s). Wait a moment, then try again.")
        raise ActionRuns(words % {"time": f"{since:%H:%M:%S}", "zone": zone.key})
