"""Mail leaves through a relay that is not ours: Postfix's smtp-sink."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.servers import Server, eventually, free_address, running

SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin")
pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(SINK is None, reason="smtp-sink is missing: apt-get install postfix"),
]


@contextmanager
def sink(address: str, folder: Path) -> Iterator[None]:
    """smtp-sink on this address, writing each mail it takes into the folder."""
    folder.mkdir(exist_ok=True)
    as_user = ["-u", "root"] if os.geteuid() == 0 else []  # it insists, so that the folder stays writable
    run = subprocess.Popen([str(SINK), *as_user, "-d", f"{folder}/%M.", address, "100"], cwd=folder)
    try:
        eventually(lambda: is_open(address))
        yield
    finally:
        run.terminate()
        run.wait(10)


def is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def mails_in(folder: Path) -> list[str]:
    return [path.read_text("utf-8", "replace") for path in sorted(folder.iterdir())]


def prepare(server: Server) -> None:
    server.command("workspace", "create", "--name", "Main", "--slug", "main", "--admin", "olga@main.example")
    server.command("record", "put", "sale.order/SO042", "--title", "Lamps", "--follower", "ben@example.org")


def test_mail_waits_while_the_relay_is_down_and_leaves_once_it_is_up(tmp_path: Path) -> None:
    relay, taken = free_address(), tmp_path / "taken"
    with running(tmp_path / "data", "up", RELAY_URL=f"smtp://{relay}") as up:
        prepare(up)
        posted = up.json("message", "post", "--record", "sale.order/SO042", "--body", "Lamps leave today.")

        def email() -> dict[str, object]:
            [found] = up.json("queue", "list")["data"]
            return found  # type: ignore[no-any-return]

        eventually(lambda: email()["held_because"] == "server_unreachable")
        waiting = email()
        assert waiting["state"] == "outgoing"
        with sink(relay, taken):
            up.command("queue", "send-now", str(waiting["id"]))
            eventually(lambda: email()["state"] == "sent")
        [mail] = mails_in(taken)
        assert posted["message_id"] in mail
        assert "<ben@example.org>" in mail
        assert "bounce+" in mail
