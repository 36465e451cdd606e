"""What a line of the log costs the drain: the time for a group of attempts, with the log and without it.

usage: python -m bench.log_line [--groups 200] [--size 500] [--format human] [--peer]

A group is what one write-back settles: `--size` attempts of one message to different addresses. Measured are
the same loop without a log, with lines that are only built, and with lines that are written into a file of a
folder of its own. With `--peer` it also measures one structlog event for each attempt, as the general log is
written. Prints one JSON object with
microseconds of processor time a line, so that what else the machine does counts for little.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATED = 5


def main() -> int:
    """Measure and print."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="postroom-bench-"))
    os.environ |= {"POSTROOM_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "postroom_server.settings"}
    import django

    django.setup()
    from postroom.diagnostics import mail_log

    groups = _groups(options.groups, options.size)
    count = options.groups * options.size

    def log_all() -> None:
        for group in groups:
            mail_log.attempts(group, AT)

    without = _microseconds(log_all, count)
    log = mail_log.open_log(folder / "logs", log_format=options.format, tidies=False)
    mail_log.slug_of = lambda workspace_id: "demo"  # the one question to the database is asked once a minute
    built = _microseconds(
        lambda: ["".join(mail_log._attempt_lines(log, group, AT, {})) for group in groups], count
    )
    written = _microseconds(log_all, count)
    found = {"lines": count, "without": without, "built": built, "written": written}
    if options.peer:
        found["structlog"] = _peer(groups, folder, count)
    json.dump({name: round(value, 3) for name, value in found.items()}, sys.stdout)
    print()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--format", choices=("human", "json"), default="human")
    parser.add_argument("--peer", action="store_true")
    return parser.parse_args()


def _groups(groups: int, size: int) -> list[list[Any]]:
    from postroom.outgoing.claiming import Claimed
    from postroom.outgoing.settling import Ended
    from postroom.wire.reply import EnhancedStatus, Outcome, Reply

    def ended(number: int, group: int) -> Ended:
        email = Claimed(
            number, 1, group, 1, 900, 1, f"customer{number}@example{number % 97}.org", "Ben", 0, 0, None,
            "urgent", False, "relay", message_reference=f"<{group:032x}@demo.postroom.localhost>",
        )  # fmt: skip
        reply = Reply(250, EnhancedStatus(2, 0, 0), f"Ok: queued as {number:X}")
        return Ended(email, Outcome.ACCEPTED, reply, seconds=0.0123, was_tls=True)

    return [[ended(group * size + number, group) for number in range(size)] for group in range(groups)]


def _microseconds(work: Callable[[], object], count: int) -> float:
    taken = []
    for _ in range(REPEATED):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken) / count * 1e6


def _peer(groups: list[list[Any]], folder: Path, count: int) -> float:
    import logging

    from postroom.commands.logs import write_logs
    from postroom_server import config

    write_logs(config.load())
    logging.getLogger().handlers[:1] = []  # the file alone
    log = logging.getLogger("bench")

    def each() -> None:
        for group in groups:
            for email, _, reply, *_ in group:
                log.info("sent email %s to %s: %s", email.email_id, email.addr_spec, reply)

    return _microseconds(each, count)


if __name__ == "__main__":
    from datetime import UTC, datetime

    AT = datetime.now(UTC)
    sys.exit(main())
