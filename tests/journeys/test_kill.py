"""The process is killed in the middle of sending, again and again; nothing is lost or silently doubled."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.journey
KILLS = 5
CONNECTIONS = 8
URGENT = 500


@contextlib.contextmanager
def process(*arguments: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process of ours, ended by its id whatever happens."""
    started = subprocess.Popen(
        arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)
        if started.stdout:
            started.stdout.close()


def module(name: str) -> list[str]:
    """How to run a module of these tests."""
    return [sys.executable, "-m", f"tests.journeys.{name}"]


def wait_for_line(started: subprocess.Popen[str], start: str) -> str:
    """Read what a process prints up to a line that begins so."""
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith(start):
            return line.strip()
    pytest.fail(f"The process ended without saying {start}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "waited too long"
        time.sleep(0.01)


def lines_of(path: Path) -> list[str]:
    """What the target wrote down."""
    return path.read_text().split() if path.exists() else []


def judged(env: dict[str, str]) -> Any:
    """The queue as it is in the tables."""
    return json.loads(
        subprocess.run(
            [*module("queue_of_an_installation"), "judge"],
            env=env,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )


def test_killed_five_times_in_the_middle_of_sending_nothing_is_lost_or_silently_doubled(
    tmp_path: Path,
) -> None:
    taken = tmp_path / "taken"
    env = {
        **{name: text for name, text in os.environ.items() if not name.startswith(("POSTROOM_", "DJANGO_"))},
        "POSTROOM_DATA": str(tmp_path / "data"),
        "POSTROOM_DEFAULT_PLAN": "unlimited",
        "POSTROOM_PRIVATE_NETWORKS": "127.0.0.0/8",
        "POSTROOM_HTTP": f"127.0.0.1:{free_port()}",
        "POSTROOM_SMTP": f"127.0.0.1:{free_port()}",
        "DATABASE_URL": "",
    }
    with process(*module("counting_target"), str(taken), "0.02", env=env) as target:
        assert target.stdout is not None
        env["RELAY_URL"] = f"smtp://127.0.0.1:{target.stdout.readline().strip()}"
        subprocess.run([*module("queue_of_an_installation"), "fill", str(URGENT)], env=env, check=True)
        random_points = random.Random()
        for _ in range(KILLS):
            goal = len(lines_of(taken)) + random_points.randrange(10, 100)
            with process(str(Path(sys.executable).parent / "postroom"), "up", env=env) as up:
                until(lambda goal=goal: len(lines_of(taken)) >= goal, 60)  # type: ignore[misc]
                up.send_signal(signal.SIGKILL)
        with process(str(Path(sys.executable).parent / "postroom"), "up", env=env) as up:
            wait_for_line(up, "Ready")
            until(lambda: len(set(lines_of(taken))) >= URGENT, 60)
            until(lambda: not any(email[1] == "outgoing" for email in judged(env)["emails"]), 90)
        judge(judged(env), Counter(lines_of(taken)))


def judge(queue: Any, deliveries: Counter[str]) -> None:
    """Hold the tables against what the target counted."""
    assert queue["is_balanced"]
    uncertain_count = 0
    for addr_spec, state, failure_kind, is_leased, uncertain in queue["emails"]:
        uncertain_count += uncertain
        assert not is_leased
        assert deliveries[addr_spec] <= 1 + uncertain, f"{addr_spec} was silently doubled"
        if state == "sent":
            assert deliveries[addr_spec] >= 1, f"{addr_spec} was lost"
        else:
            assert (state, failure_kind) == ("failed", "uncertain")
            assert uncertain
    assert len(queue["emails"]) == URGENT + URGENT // 2
    assert uncertain_count <= KILLS * CONNECTIONS
