"""What a mail costs while few wait behind it, and while a million do.

usage: python -m bench.queue_length [--waiting 1000000] [--count 10000] [--rounds 3]
                                    [--database sqlite|postgres]

Each round drains `--count` due mails with 1,000 more waiting for a later time, then as many with `--waiting`
more, then (due) for five seconds from the front of a queue that could all leave. CPU is this process's;
seconds are the clock's, the work of database and sink included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import timedelta

from bench import stage

FEW = 1000


def main() -> None:
    """Print cost a mail for the short queue and the long ones, and their ratios."""
    options = _options()
    with stage.smtp_sink() as port, stage.installation(options.database, port):
        costs: dict[str, list[tuple[float, float]]] = {"few": [], "later": [], "due": []}
        stage.empty()
        _rounds(options, FEW, costs["few"], is_warm=False)
        _wait(options.waiting, is_due=False)
        _rounds(options, options.waiting, costs["later"], is_warm=True)
        _make_due()
        for _ in range(options.rounds):
            costs["due"].append(_from_the_front(5.0))
    print(f"{stage.where(options.database)}: {options.count} mails a round, {options.rounds} rounds")
    for name, words in (
        ("few", f"{FEW:,} more wait"),
        ("later", f"{options.waiting:,} more wait for a later time"),
        ("due", f"{options.waiting:,} are due"),
    ):
        clock, cpu = zip(*costs[name], strict=True)
        base = zip(*costs["few"], strict=True)
        few_clock, few_cpu = map(statistics.median, base)
        print(
            f"  {words:42} {stage.spread(clock)} us on the clock, {stage.spread(cpu)} us CPU a mail;", end=" "
        )
        print(f"ratio {statistics.median(clock) / few_clock:.2f} and {statistics.median(cpu) / few_cpu:.2f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    return parser.parse_args()


def _rounds(
    options: argparse.Namespace, waiting: int, costs: list[tuple[float, float]], *, is_warm: bool
) -> None:
    if not is_warm:
        _wait(waiting, is_due=False)
        stage.drained(stage.add(1000), 1000)
    for _ in range(options.rounds):
        lane = stage.add(options.count)
        seconds, cpu = stage.drained(lane, options.count)
        costs.append((seconds / options.count * 1e6, cpu / options.count * 1e6))


def _wait(count: int, *, is_due: bool) -> None:
    """Add so many Emails in groups of a thousand by INSERT … SELECT: nothing travels through Python."""
    from django.db import connection
    from django.utils import timezone

    from postroom.conversations.models.records import Stream
    from postroom.outgoing import gates
    from postroom.outgoing.models import Email, Tally
    from postroom.outgoing.relays import lane_of
    from postroom.workspaces.models import Workspace

    workspace = Workspace.objects.get()
    lane = lane_of(workspace, Stream.BULK)
    gates.open_until({lane.pk: gates.FOR_GOOD})
    due_at = timezone.now() + (timedelta() if is_due else timedelta(days=30))
    stage.addresses(workspace, 10_000)
    for _ in range(count // min(count, 10_000)):
        message_id, rendition_id = stage.messages_of(workspace, 1, 0)[0]
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO postroom_email"
                " (workspace_id, message_id, rendition_id, address_id, lane_id, due_at)"
                " SELECT %s, %s, %s, id, %s, %s FROM postroom_address WHERE workspace_id = %s"
                " AND addr_spec LIKE 'person%%' ORDER BY id LIMIT %s",
                [workspace.pk, message_id, rendition_id, lane.pk, due_at, workspace.pk, min(count, 10_000)],
            )
        here = Email.objects.filter(message_id=message_id).count()
        Tally.objects.filter(pk=message_id).update(total_count=here, outgoing_count=here)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE postroom_email")


def _make_due() -> None:
    from django.db import connection
    from django.utils import timezone

    from postroom.outgoing.models import Email

    Email.objects.filter(state="outgoing").update(due_at=timezone.now())
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE postroom_email")


def _from_the_front(seconds: float) -> tuple[float, float]:
    """Drain for so many seconds; cost a mail on the clock and of CPU."""
    from postroom.flows import sending
    from postroom.outgoing.models import Email
    from postroom.outgoing.relays import shared_server

    sending.RUN_SECONDS = seconds
    before = Email.objects.filter(state="sent").count()
    began, used = time.perf_counter(), time.process_time()
    stage.run(lambda: sending.drain(shared_server().engine_lane))
    took, used = time.perf_counter() - began, time.process_time() - used
    sent = Email.objects.filter(state="sent").count() - before
    return took / sent * 1e6, used / sent * 1e6


if __name__ == "__main__":
    main()
