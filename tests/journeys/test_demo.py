"""`postroom demo` and `postroom up`, as a person starts them."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.journeys.servers import POSTROOM, environment, free_address, running

pytestmark = pytest.mark.journey


def test_the_demo_opens_on_a_red_envelope_and_stops_when_asked(tmp_path: Path) -> None:
    with running(tmp_path, "demo") as demo:
        assert demo.get("/livez")[0] == 200
        assert demo.get("/readyz")[0] == 200
        failed = demo.json("queue", "list", "--state", "failed")["data"]
        assert [email["address"] for email in failed] == ["bounce-5.1.1@libraria.example"]
        message = failed[0]["message"]
        told = demo.json("explain", failed[0]["id"])
        assert message == told["message"]
        assert any("5.1.1" in step["detail"] or "550" in step["detail"] for step in told["steps"])
        assert any(re.search(r"/records/\d+$", line) for line in demo.lines)
        assert (tmp_path / "demo-login").read_text().splitlines()[0] == "olga@demo.example"
        suggested = [shlex.split(line) for line in demo.lines if "postroom explain em_" in line]
        assert suggested[0] == [f"POSTROOM_DATA={tmp_path}", "postroom", "explain", failed[0]["id"]]
        posted = demo.json("inbound", "log", "--state", "posted")["data"]
        assert [line["subject"] for line in posted] == ["A chair with a loose leg"]
        begun = time.monotonic()
        assert demo.stop() == 0
        assert time.monotonic() - begun < 6

    with running(tmp_path, "demo") as again:
        login = [line for line in again.lines if line.startswith("Log in as olga@demo.example")]
        password = (tmp_path / "demo-login").read_text().splitlines()[1]
        assert login[0].endswith(password)
        assert len(again.json("workspace", "list")["data"]) == 1
        assert again.stop() == 0


def test_a_second_one_on_the_same_folder_is_told_how_to_grow(tmp_path: Path) -> None:
    with running(tmp_path, "up") as first:
        second = subprocess.run(
            [*POSTROOM, "up"],
            env=first.environment,  # the same ports, too
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert second.stderr.startswith("Postroom already runs on the data folder")
        assert "PostgreSQL" in second.stderr
        assert "Traceback" not in second.stderr


def test_a_port_that_is_taken_is_named_with_the_setting_to_change(tmp_path: Path) -> None:
    with running(tmp_path / "a", "up") as first:
        second = subprocess.run(
            [*POSTROOM, "up"],
            env=environment(tmp_path / "b", first.http, free_address(), free_address()),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "POSTROOM_HTTP" in second.stderr
        assert "Traceback" not in second.stderr


def test_without_a_workspace_the_pages_say_how_to_make_one_and_then_open(tmp_path: Path) -> None:
    import urllib.error

    with running(tmp_path, "up") as up:
        assert up.get("/livez")[0] == 200
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            up.get("/")
        assert b"postroom workspace create" in caught.value.read()
        up.command("workspace", "create", "--name", "Casa", "--admin", "mia@casa.example")
        assert up.get("/accounts/login/")[0] == 200
        assert up.command("readyz").stdout == "Ready.\n"
        assert up.stop() == 0
