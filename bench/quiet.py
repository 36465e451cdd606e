"""What an installation costs that has nothing to do: seconds of CPU per hour.

usage: python -m bench.quiet [--seconds 300] [--database sqlite|postgres]

Starts it (SQLite: `postroom up`; PostgreSQL: `web`, `smtp` and `worker`), waits until it has settled, and
reads from /proc what its processes, and those of the database, use in that time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench import fleet, stage

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_SECONDS = 70  # the first tick and the first beat are over


def main() -> None:
    """Wait, and print what was used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    with (
        stage.smtp_sink() as port,
        stage.installation(options.database, port),
        _stations(options.database) as (names),
    ):
        time.sleep(SETTLE_SECONDS)
        before = {name: _used(pids) for name, pids in names.items()}
        time.sleep(options.seconds)
        after = {name: _used(pids) for name, pids in names.items()}
    print(f"{stage.where(options.database)}: nothing to do for {options.seconds} s, one workspace")
    for name in names:
        per_hour = (after[name] - before[name]) * 3600 / options.seconds
        print(f"  {name:<10} {per_hour:6.1f} s of CPU per hour, {per_hour / 36:.2f} % of one core")


@contextlib.contextmanager
def _stations(database: str) -> Iterator[dict[str, list[int]]]:
    os.environ["POSTROOM_SECRET_KEY"], os.environ["POSTROOM_INSTANCE_ID"] = "0" * 64, "bench"
    roles = ("web", "smtp", "worker") if database == "postgres" else ("up",)
    with contextlib.ExitStack() as stack:
        folder = os.environ["POSTROOM_DATA"]
        settings = {} if database == "postgres" else {"POSTROOM_DATA": folder}
        runs = {role: stack.enter_context(fleet.workers(1, role, **settings)) for role in roles}
        names = {role: [run.pid for run in started] for role, started in runs.items()}
        if database == "postgres":
            names["PostgreSQL"] = _of_postgres(Path(folder) / "postgres")
        yield names


def _of_postgres(folder: Path) -> list[int]:
    return [int((folder / "postmaster.pid").read_text().splitlines()[0])]


def _used(pids: list[int]) -> float:
    """Seconds of CPU of these processes and of all their children, those that have ended included."""
    return sum(_ticks(pid) for pid in {*pids, *(child for pid in pids for child in _children(pid))}) / TICKS


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _ticks(pid: int) -> int:
    """utime, stime, cutime and cstime (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    return sum(int(field) for field in fields[11:15])


if __name__ == "__main__":
    main()
