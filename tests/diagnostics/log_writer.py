"""Writes numbered lines into a log as a process of its own, which may be killed at any step.

usage: python -m tests.diagnostics.log_writer write FOLDER NAME COUNT SKEW_SECONDS BEGAN_AT
       python -m tests.diagnostics.log_writer step FOLDER KILLED_AT
       python -m tests.diagnostics.log_writer tidy FOLDER KILLED_AT

`write` goes by a clock that runs very fast: a day in a twentieth of a second. `step` writes six lines, the
fourth of them a day later, and says after each that it is written. KILLED_AT is the number of the system call
at which the process is killed; of a write half is done then. 0: it is not killed, and the last thing said is
how many there were.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from postroom.diagnostics import log_days
from postroom.diagnostics.log_file import LogFile

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
DAYS_A_SECOND = 20
LINES = 6


def log_in(folder: Path, clock: Callable[[], float]) -> LogFile:
    """A log whose lines are plain words."""
    return LogFile(
        folder,
        head=lambda day, at: f"log_opened day={day} {at:.3f}\n",
        gap=lambda count, at: f"log_gap lines={count}\n",
        clock=clock,
    )


def write(folder: Path, name: str, count: int, *, skew: float, began_at: float) -> None:
    """Write all lines, some alone and some in groups."""

    def clock() -> float:
        return NOON + skew + (time.monotonic() - began_at) * DAYS_A_SECOND * DAY

    log = log_in(folder, clock)
    number = 0
    while number < count:
        group = min(1 + number % 7, count - number)
        assert log.write("".join(f"{name} {number + each} {'x' * 60}\n" for each in range(group)))
        number += group


def be_killed_at(number: int) -> list[int]:
    """Count the calls that change something, and end at one of them."""
    calls = [0]

    def watched(name: str) -> None:
        call = getattr(os, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                if name == "write":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        setattr(os, name, counted)

    for name in ("open", "write", "rename", "unlink", "ftruncate", "fsync", "utime"):
        watched(name)
    return calls


def step(folder: Path, killed_at: int) -> None:
    """Six lines over a change of day."""
    say = sys.stdout.write
    now = [NOON]
    log = log_in(folder, lambda: now[0])
    calls = be_killed_at(killed_at)
    for number in range(LINES):
        now[0] = NOON + DAY * (number >= LINES // 2)
        log.write(f"child {number} {'x' * 60}\n")
        say(f"{number}\n")
        sys.stdout.flush()
    say(f"{calls[0]}\n")


def tidy(folder: Path, killed_at: int) -> None:
    """Compress and remove."""
    calls = be_killed_at(killed_at)
    log_days.tidy(folder, days=30, now=time.time(), quiet_seconds=0)
    sys.stdout.write(f"{calls[0]}\n")


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "write":
        write(Path(where), rest[0], int(rest[1]), skew=float(rest[2]), began_at=float(rest[3]))
    else:
        {"step": step, "tidy": tidy}[what](Path(where), int(rest[0]))
