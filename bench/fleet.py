"""Several workers on one PostgreSQL: how the drain scales, and a hundred thousand mails through a storm.

usage: python -m bench.fleet scale [--count 30000] [--rounds 3] [--milliseconds 0]
       python -m bench.fleet storm [--count 100000]

`scale` drains the same queue with one, two and three `postroom worker` processes into one sink, by turns,
and prints each rate as a ratio to that of one. `--milliseconds` lets the sink answer so late, as a network
does.
`storm` is the journey of `tests/journeys/test_three_workers.py` with more mail: a worker is killed every few
seconds, the database is restarted once, and a target that is none of ours counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import stage

WORKERS = (1, 2, 3)
POSTROOM = [sys.executable, "-c", "from postroom.commands import main; main()"]
WARM_UP = 300


def main() -> None:
    """Run what was asked for."""
    options = _options()
    storm(options) if options.what == "storm" else scale(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("scale", "storm"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=float, default=0)
    return parser.parse_args()


# Scaling.


def scale(options: argparse.Namespace) -> None:
    """Drain the same queue with one, two and three workers, by turns."""
    count = options.count or 30_000
    rates: dict[int, list[float]] = {number: [] for number in WORKERS}
    with _sink(options.milliseconds) as port, stage.installation("postgres", port):
        os.environ["POSTROOM_SECRET_KEY"], os.environ["POSTROOM_INSTANCE_ID"] = "0" * 64, "bench"
        for number in [*WORKERS, *WORKERS[::-1]] * ((options.rounds + 1) // 2):
            rates[number].append(count / _seconds(number, count))
    late = f", every reply {options.milliseconds:g} ms late" if options.milliseconds else ""
    print(
        f"{stage.where('postgres')}: {count:,} mails of 5 KB into one sink{late}, connections as by default"
    )
    for number in WORKERS:
        ratio = stage.ratios(rates[number], rates[1])
        print(f"  {number} worker{'s' * (number > 1)}  {stage.spread(rates[number])} mails/s, × one {ratio}")


def _sink(milliseconds: float) -> contextlib.AbstractContextManager[int]:
    return stage.slow_sink(milliseconds) if milliseconds else stage.smtp_sink()


def _seconds(number: int, count: int) -> float:
    """Start the workers, let them warm up on a few mails, and time the rest on the clock."""
    from postroom import engine
    from postroom.outgoing.models import Email

    stage.empty()
    with workers(number):
        lane = stage.add(WARM_UP)
        engine.wake(lane)
        _wait_until_sent(WARM_UP)
        time.sleep(6)  # the connections of the warm-up are closed again
        _pause(True)
        stage.add(count, groups=5000)
        began = time.perf_counter()
        _pause(False)
        engine.wake(lane)
        _wait_until_sent(WARM_UP + count)
        seconds = time.perf_counter() - began
    assert not Email.objects.exclude(state="sent", lease="").exists()
    return seconds


def _pause(is_paused: bool) -> None:
    """Nothing leaves while the queue is filled, whatever makes a worker look."""
    from postroom.outgoing.models import Lane

    Lane.objects.update(is_paused=is_paused)


def _wait_until_sent(count: int) -> None:
    from postroom.outgoing.models import Tally

    while sum(Tally.objects.values_list("sent_count", flat=True)) < count:
        time.sleep(0.02)


@contextlib.contextmanager
def workers(number: int, role: str = "worker", **settings: str) -> Iterator[list[subprocess.Popen[str]]]:
    """So many stations of a role on this environment's database, each with a data folder of its own."""
    with contextlib.ExitStack() as stack:
        runs = []
        for _ in range(number):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="postroom-fleet-"))
            ports = {name: f"127.0.0.1:{stage.free_port()}" for name in ("POSTROOM_HTTP", "POSTROOM_SMTP")}
            env = {**os.environ, "POSTROOM_DATA": folder, **ports, **settings}
            log = stack.enter_context((Path(folder) / "said").open("w+"))
            run = subprocess.Popen([*POSTROOM, role], env=env, stdout=log, stderr=log, text=True)
            stack.callback(_end, run)
            runs.append((run, Path(folder) / "said"))
        for run, said in runs:
            while "Ready" not in said.read_text():
                assert run.poll() is None, said.read_text()
                time.sleep(0.05)
        yield [run for run, _ in runs]


def _end(run: subprocess.Popen[str]) -> None:
    run.terminate()
    try:
        run.wait(20)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()


# The storm.


def storm(options: argparse.Namespace) -> None:
    """The journey's storm with more mail."""
    from tests.journeys.test_three_workers import three_workers

    count = options.count or 100_000
    with tempfile.TemporaryDirectory(prefix="postroom-storm-") as name, three_workers(Path(name)) as fleet:
        fleet.workers[0].fill(urgent=count // 2, bulk=count // 2)
        began = time.perf_counter()
        fleet.storm(count * 9 // 10, seed=count, restart_at=count // 3)
        fleet.settle(count, 600)
        seconds = time.perf_counter() - began
    told = ", ".join(f"{number:,} {state}" for state, number in sorted(fleet.states.items()))
    taken = fleet.taken_count
    print(f"{stage.where('postgres')}: {count:,} mails, three workers, a paced target, {seconds:.0f} s")
    print(f"  kill -9 of a worker {fleet.kills} times, restarts of the database {fleet.restarts}")
    print(f"  {told}; the target took {taken:,} copies; the counting judge found nothing wrong")


if __name__ == "__main__":
    main()
