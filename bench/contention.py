"""Everybody writes into one SQLite file: how long each of them waits, and that nobody is turned away.

usage: python -m bench.contention [--seconds 60]

In one process, as under `postroom up`: an engine that drains the lanes of four servers, the SMTP listener
with its front door, threads that post as the pages do, and one that fills the lanes. Beside it, in processes
of their own: four SMTP clients, two programs that post as a command does, and `postroom message post` itself.
Anything that fails, or speaks of a locked database, is printed and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SERVERS, CLIENTS, POSTERS, COMMANDS = 4, 4, 3, 2
LATENCY_MS = 20
FILL = 200
PAUSE_SECONDS = 0.2
NAMES = {
    "post": "a post, as a page does it",
    "accepted": "a 250 after the final dot",
    "command": "a post in another process",
    "cli": "`postroom message post`, start to end",
    "fill": f"{FILL} Emails of a mailing in one transaction",
}


class Times:
    """How long things took, by name; safe from every thread."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.failures: list[str] = []

    def repeat(self, name: str, write: Callable[[int], object], *, until: float) -> None:
        """Do it again and again with a pause; a failure is noted and ends nothing."""
        taken = self.seconds.setdefault(name, [])
        number = 0
        while time.monotonic() < until:
            number += 1
            began = time.perf_counter()
            try:
                write(number)
            except Exception as error:  # every failure is a result here
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
            taken.append(time.perf_counter() - began)
            time.sleep(PAUSE_SECONDS)


class Complaints(logging.Handler):
    """Whatever the product logs as an error counts as a failure."""

    def __init__(self, times: Times) -> None:
        super().__init__(logging.ERROR)
        self.times = times

    def emit(self, record: logging.LogRecord) -> None:
        self.times.failures.append(self.format(record))


def main() -> int:
    """Play one part if one is named, else all of it."""
    options = _options()
    if options.part == "command":
        return _part_of_a_command(options.seconds)
    if options.part == "client":
        return _part_of_a_client(options.seconds, options.port, options.to)
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as folder:
        sink, port = _start_sink()
        try:
            reply_to = _open_installation(Path(folder), port)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_measure(Path(folder), reply_to, options.seconds))
        finally:
            sink.kill()
            sink.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--part", choices=("command", "client"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    return parser.parse_args()


async def _measure(folder: Path, reply_to: str, seconds: float) -> int:
    """Start what `postroom up` runs, then everybody who writes; print what came of it."""
    from postroom.engine.embedded import Engine
    from postroom.flows.lanes import lane_kinds
    from postroom.flows.receiving import FrontDoor
    from postroom.smtp.listener import Listener

    times = Times()
    logging.getLogger("postroom").addHandler(Complaints(times))
    engine, door = Engine(folder, lane_kinds()), FrontDoor()
    listener = Listener(door, "bench.localhost")
    _, port = await listener.start("127.0.0.1", 0)
    await engine.start()
    try:
        sent_count = await _everybody(times, port, reply_to, seconds)
    finally:
        await listener.stop()
        await engine.stop()
        await asyncio.to_thread(door.close)
    return _report(times, sent_count, seconds)


async def _everybody(times: Times, port: int, reply_to: str, seconds: float) -> int:
    """Let all of them write for a while; return how many Emails were sent meanwhile."""
    until = time.monotonic() + seconds
    spread = f"{seconds:g}"
    client = ["--part", "client", "--port", str(port), "--to", reply_to, "--seconds", spread]
    command = ["--part", "command", "--seconds", spread]
    jobs = [
        *[lambda: _in_thread(times, "post", _post, until)] * POSTERS,
        lambda: _in_thread(times, "fill", _filler(), until),
        lambda: times.repeat("cli", _command_line, until=until),
        *[lambda: _in_other_process(times, client)] * CLIENTS,
        *[lambda: _in_other_process(times, command)] * COMMANDS,
    ]
    with ThreadPoolExecutor(len(jobs)) as threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, job) for job in jobs))
    return await asyncio.to_thread(_sent_count)


def _in_thread(times: Times, name: str, write: Callable[[int], object], until: float) -> None:
    from django.db import connections

    try:
        times.repeat(name, write, until=until)
    finally:
        connections.close_all()


def _in_other_process(times: Times, arguments: list[str]) -> None:
    """Run one part; what it prints are its times and failures."""
    done = subprocess.run([sys.executable, HERE, *arguments], capture_output=True, text=True)
    if done.returncode:
        times.failures.append(done.stderr)
        return
    told = json.loads(done.stdout)
    for name, seconds in told["seconds"].items():
        times.seconds.setdefault(name, []).extend(seconds)
    times.failures.extend(told["failures"])


def _command_line(number: int) -> None:
    """The command itself; most of its time is the start of Python."""
    postroom = [str(Path(sys.executable).with_name("postroom"))]
    said = ["message", "post", "--record", "sale.order/SO1", "--body", f"From the shell {number}"]
    done = subprocess.run([*postroom, *said], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def _part_of_a_command(seconds: float) -> int:
    """Post again and again as `postroom message post` does, without starting Python each time."""
    from postroom.commands.opening import open_installation

    open_installation()
    times = Times()
    times.repeat("command", _post, until=time.monotonic() + seconds)
    print(json.dumps({"seconds": times.seconds, "failures": times.failures}))
    return 0


def _part_of_a_client(seconds: float, port: int, to: str) -> int:
    """Answer over SMTP again and again, over one connection; each mail another Message-ID."""
    times = Times()
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        times.repeat("accepted", _Answers(smtp, to).send, until=time.monotonic() + seconds)
    print(json.dumps({"seconds": times.seconds, "failures": times.failures}))
    return 0


class _Answers:
    """One correspondent who answers a record."""

    def __init__(self, smtp: smtplib.SMTP, to: str) -> None:
        self.smtp = smtp
        self.to = to

    def send(self, number: int) -> None:
        """One mail. Raises smtplib's exception unless it is taken."""
        text = (
            f"From: ben@example.org\r\nTo: {self.to}\r\nSubject: Re: Order\r\n"
            f"Message-ID: <{os.getpid()}.{number}@example.org>\r\n\r\nAnswer {number}\r\n"
        )
        self.smtp.sendmail("ben@example.org", [self.to], text + "What answers say.\r\n" * 100)


def _post(number: int) -> None:
    from postroom.conversations.models import Record
    from postroom.flows.posting import Draft, post
    from postroom.workspaces.models import Member

    member = Member.objects.select_related("workspace").get()
    record = Record.objects.get(external_id=f"SO{number % 3 + 2}")
    post(Draft(workspace=member.workspace, record=record, member=member, text=f"Said {number} times"))


def _filler() -> Callable[[int], None]:
    """Puts a mailing's worth of Emails into the lanes, one server after the other."""
    from django.db import transaction
    from django.db.models import F

    from postroom import engine
    from postroom.conversations.models import Address, Message
    from postroom.outgoing.models import Email, Lane, Rendition, Tally
    from postroom.workspaces.insert_selected import insert_selected, select

    lanes = list(Lane.objects.filter(stream="bulk").select_related("server").order_by("pk"))
    addresses = select(Address.objects.filter(addr_spec__startswith="person"), {"address": F("pk")})

    def fill(number: int) -> None:
        lane = lanes[number % len(lanes)]
        alike = {"workspace_id": lane.workspace_id}
        with transaction.atomic():
            message = Message.objects.create(**alike, stream="bulk", message_id=f"<{number}@bench.example>")
            rendition = Rendition.objects.create(
                **alike,
                message=message,
                language="en",
                layout="outside",
                digest="0",
                size=5000,
                octets=_OCTETS,
            )
            Tally.objects.create(**alike, message=message, total_count=FILL, outgoing_count=FILL)
            each = {
                "workspace": lane.workspace_id,
                "message": message.pk,
                "rendition": rendition.pk,
                "lane": lane.pk,
            }
            insert_selected(Email, addresses, alike=each)
            transaction.on_commit(lambda: engine.wake(lane.server.engine_lane))

    return fill


_OCTETS = (
    b"From: a@bench.example\r\nTo: %(to)b\r\nX-Postroom-Copy: %(copy)b\r\n\r\n" + b"What is said.\r\n" * 330
)


def _sent_count() -> int:
    from django.db import connections

    from postroom.outgoing.models import Email

    try:
        return Email.objects.filter(state="sent").count()
    finally:
        connections.close_all()


def _report(times: Times, sent_count: int, seconds: float) -> int:
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{where}: {seconds:g} s, one SQLite file")
    print(f"  {'':44}{'count':>7}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for name, title in NAMES.items():
        taken = sorted(1000 * each for each in times.seconds[name])
        high = taken[int(len(taken) * 0.99)]
        print(f"  {title:44}{len(taken):7}{statistics.median(taken):9.1f}{high:9.1f}{taken[-1]:9.1f}")
    print(f"  sent over {SERVERS} servers: {sent_count:,} Emails, {sent_count / seconds:,.0f}/s")
    locked_count = sum("database is locked" in failure for failure in times.failures)
    print(f'  failures: {len(times.failures)}, of these "database is locked": {locked_count}')
    for failure in times.failures[:10]:
        print(failure)
    return 1 if times.failures else 0


def _open_installation(folder: Path, port: int) -> str:
    """A workspace with records and the lanes of four servers; return the address that answers go to."""
    os.environ["POSTROOM_DATA"] = str(folder)
    os.environ["RELAY_URL"] = f"smtp://127.0.0.1:{port}"
    os.environ["DJANGO_SETTINGS_MODULE"] = "postroom_server.settings"
    os.environ["DATABASE_URL"] = ""
    os.environ["POSTROOM_DEFAULT_PLAN"] = "unlimited"
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from postroom.workspaces import installation

    call_command("migrate", verbosity=0)
    installation.recognise()
    reply_to = _found(port)
    connections.close_all()
    return reply_to


def _found(port: int) -> str:
    from postroom.conversations.models import Address
    from postroom.flows.founding import found_workspace
    from postroom.flows.recording import contact_for, put_record
    from postroom.outgoing import gates, origin
    from postroom.outgoing.models import Lane, MailServer

    founded = found_workspace(name="Bench", slug="bench", admin_address="olga@demo.example")
    workspace, olga = founded.workspace, founded.member
    ben = contact_for(workspace, "ben@example.org", "Ben")
    for number in range(1, 5):
        record, _ = put_record(
            workspace, "sale.order", f"SO{number}", title="Order", followers=[ben], by=olga
        )
    for number in range(SERVERS):
        server = MailServer.objects.create(
            workspace=workspace,
            name=f"Server {number}",
            host="127.0.0.1",
            port=port,
            encryption="none",
            connection_limit=4,
        )
        Lane.objects.create(workspace=workspace, stream="bulk", server=server, released_until=gates.FOR_GOOD)
    Address.objects.bulk_create(
        Address(workspace=workspace, addr_spec=f"person{n}@rcpt.example") for n in range(FILL)
    )
    reply_to = origin.reply_to_of(workspace, origin.default_domain(workspace), record)
    assert reply_to is not None
    return reply_to.addr_spec


def _start_sink() -> tuple[subprocess.Popen[str], int]:
    sink = subprocess.Popen(
        [sys.executable, HERE.with_name("sink.py"), "0", str(LATENCY_MS)], stdout=subprocess.PIPE, text=True
    )
    assert sink.stdout is not None
    return sink, int(sink.stdout.readline().split()[1])


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
