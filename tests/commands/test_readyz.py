"""What `postroom readyz` says to people."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.commands.conftest import Postroom


@contextlib.contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, code: int, answer: dict[str, Any]) -> Iterator[None]:
    """Somebody who answers on POSTROOM_HTTP with this."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("POSTROOM_HTTP", f"127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


def test_readyz_without_a_server_names_what_to_start(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROOM_HTTP", "127.0.0.1:9")
    ran = postroom("readyz")
    assert ran.exit_code == 1
    assert "does not answer at http://127.0.0.1:9/readyz (Connection refused). Start it" in ran.err
    assert "Errno" not in ran.err


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        (["database", "migrations", "engine"], "start it, or correct DATABASE_URL"),
        (["migrations", "engine"], "brings them up to date"),
        (["engine"], "postroom worker`"),
        (["disk"], "free some of it"),
    ],
)
def test_readyz_says_in_words_what_is_missing_and_what_to_do(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch, missing: list[str], remedy: str
) -> None:
    checks = {name: name not in missing for name in ("database", "migrations", "engine", "disk")}
    with answering(monkeypatch, 503, {"status": "not ready", "checks": checks, "figures": {}}):
        said = postroom("readyz").err
    assert remedy in said
    assert "{" not in said
    assert said.count(":") < 5  # one remedy: the others cannot be seen before it


def test_readyz_of_a_stranger_says_how_to_be_told_more(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(monkeypatch, 503, {"status": "not ready"}):
        assert "POSTROOM_METRICS_TOKEN" in postroom("readyz").err


def test_readyz_says_when_capture_mode_keeps_mail_in(
    postroom: Postroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(monkeypatch, 200, {"status": "ok", "checks": {}, "figures": {"is_capturing": True}}):
        assert "Ready. Capture mode keeps mail in" in postroom("readyz").out
    with answering(monkeypatch, 200, {"status": "ok", "checks": {}, "figures": {"is_capturing": False}}):
        assert postroom("readyz").out == "Ready.\n"
