"""Starts the real `postroom` as a person would, on free ports, and ends it by its id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

POSTROOM = [sys.executable, "-c", "from postroom.commands import main; main()"]
READY_SECONDS = 60.0
T = TypeVar("T")


@dataclass
class Server:
    """A running `postroom up` or `postroom demo`."""

    folder: Path
    http: str
    smtp: str
    target: str
    run: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def smtp_port(self) -> int:
        return int(self.smtp.rpartition(":")[2])

    @property
    def environment(self) -> dict[str, str]:
        """What a short command beside it needs."""
        return environment(self.folder, self.http, self.smtp, self.target)

    def command(self, *arguments: str, is_expected_to_fail: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a short command beside the server."""
        ran = subprocess.run(
            [*POSTROOM, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode != 0) == is_expected_to_fail, ran.stderr
        return ran

    def json(self, *arguments: str) -> Any:
        """What a short command prints with --json."""
        return json.loads(self.command(*arguments, "--json").stdout)

    def get(self, path: str) -> tuple[int, str]:
        """Fetch a page."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return response.status, response.read().decode()

    def stop(self, seconds: float = 15.0) -> int:
        """Ask it to stop and return the exit code."""
        self.run.send_signal(signal.SIGTERM)
        return self.run.wait(seconds)


def environment(folder: Path, http: str, smtp: str, target: str) -> dict[str, str]:
    """The environment of a person who has set nothing else."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "POSTROOM_DATA": str(folder),
        "POSTROOM_HTTP": http,
        "POSTROOM_SMTP": smtp,
        "POSTROOM_TARGET": target,
        "POSTROOM_PRIVATE_NETWORKS": "127.0.0.0/8",
    }


def free_address() -> str:
    """An address nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """Start `postroom <arguments>` on free ports, wait for its Ready line, and end it afterwards."""
    http, smtp, target = free_address(), free_address(), free_address()
    folder.mkdir(parents=True, exist_ok=True)
    err = folder / "stderr.txt"
    with err.open("a") as errors:
        run = subprocess.Popen(
            [*POSTROOM, *arguments],
            env={**environment(folder, http, smtp, target), **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    server = Server(folder, http, smtp, target, run)
    try:
        _wait_until_ready(server, err)
        yield server
    finally:
        if run.poll() is None:
            run.terminate()
            try:
                run.wait(15)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
        if run.stdout:
            run.stdout.close()


def _wait_until_ready(server: Server, err: Path) -> None:
    assert server.run.stdout is not None
    for line in server.run.stdout:
        server.lines.append(line.rstrip("\n"))
        if line.startswith("Ready "):
            return
    raise AssertionError(f"It ended before it was ready: {server.lines}\n{err.read_text('utf-8')}")


def eventually(look: Callable[[], T], seconds: float = 30.0) -> T:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen or time.monotonic() > deadline:
            assert seen, "It did not happen."
            return seen
        time.sleep(0.2)
