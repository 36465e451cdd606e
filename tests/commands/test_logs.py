"""What a log line may say."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.commands.logs import redact, write_logs


@pytest.fixture
def kept_root() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for stream in root.handlers:
        if stream not in before:
            stream.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to ana@example.com, refused", "to a****@example.com, refused"),
        ("<bounce+abc123@demo.postroom.localhost>", "<b****@demo.postroom.localhost>"),
        ("a@b.example and c@d.example", "a****@b.example and c****@d.example"),
        ("no address here", "no address here"),
    ],
)
def test_addresses_are_shortened(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(st.from_regex(r"[a-z][a-z0-9.+-]{2,30}@[a-z]{1,10}\.example", fullmatch=True))
def test_no_local_part_is_left(address: str) -> None:
    assert address.partition("@")[0] not in redact(f"mail for {address} failed").replace(
        "mail for", ""
    ).replace("failed", "")


def test_a_long_line_without_an_address_costs_no_time() -> None:
    begun = time.perf_counter()
    redact("a" * 200_000)
    assert time.perf_counter() - begun < 2


def test_json_lines_name_time_level_and_logger(tmp_path: Path, kept_root: None) -> None:
    write_logs(tmp_path, log_format="json")
    logging.getLogger("postroom.test").warning("Mail to %s was refused", "ana@example.com")
    line = json.loads((tmp_path / "postroom.log").read_text("utf-8").splitlines()[-1])
    assert line["event"] == "Mail to a****@example.com was refused"
    assert (line["level"], line["logger"]) == ("warning", "postroom.test")
    assert line["timestamp"].endswith("Z")


def test_a_traceback_shows_no_address(tmp_path: Path, kept_root: None) -> None:
    write_logs(tmp_path, log_format="human")
    try:
        raise ValueError("cannot mail ana@example.com")
    except ValueError:
        logging.getLogger("postroom.test").exception("It failed")
    written = (tmp_path / "postroom.log").read_text("utf-8")
    assert "ValueError" in written
    assert "ana@example.com" not in written


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_what_a_stranger_wrote_begins_no_record_of_its_own(
    tmp_path: Path, kept_root: None, log_format: str
) -> None:
    """The words of a provider go into the log as they came, a traceback's too."""
    write_logs(tmp_path, log_format=log_format)
    forged = "no\x1b[2J\n2026-11-21T06:07:00Z [error] forged\u2028forged"
    log = logging.getLogger("postroom.test")
    log.warning("The provider refused: %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        log.exception("It failed")
    written = (tmp_path / "postroom.log").read_text("utf-8")
    assert "\x1b" not in written
    assert not any(line.startswith(("2026-11-21T06:07", "forged")) for line in written.splitlines())
    assert written.count("The provider refused") == 1
