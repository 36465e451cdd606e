"""What the log of a process that lasts says, on stderr and in its file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.commands.logs import note_actions, write_logs
from postroom.diagnostics import mail_log
from postroom_server import config as configuration
from postroom_server.config import Config


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
    mail_log.close_log()


def config(folder: Path, **values: str) -> Config:
    return configuration.load({"POSTROOM_DATA": str(folder), **values})


def written(folder: Path) -> str:
    return (folder / "logs" / "postroom.log").read_text("utf-8")


def test_json_lines_name_time_level_and_logger(tmp_path: Path, kept_root: None) -> None:
    write_logs(config(tmp_path, POSTROOM_LOG_FORMAT="json"))
    logging.getLogger("postroom.test").warning("Mail to %s was refused", "ana@example.com")
    line = json.loads(written(tmp_path).splitlines()[-1])
    assert line["event"].startswith("Mail to a****@example.com~")
    assert line["event"].endswith(" was refused")
    assert (line["level"], line["logger"]) == ("warning", "postroom.test")
    assert line["timestamp"].endswith("Z")


def test_what_people_read_names_time_level_and_logger(tmp_path: Path, kept_root: None) -> None:
    write_logs(config(tmp_path))
    logging.getLogger("postroom.test").info("It begins")
    assert written(tmp_path).splitlines()[-1].endswith("Z INFO postroom.test: It begins")


def test_whole_addresses_are_shown_where_that_is_set(tmp_path: Path, kept_root: None) -> None:
    write_logs(config(tmp_path, POSTROOM_LOG_ADDRESSES="full"))
    logging.getLogger("postroom.test").info("Mail to ana@example.com")
    assert "ana@example.com" in written(tmp_path)


def test_a_traceback_shows_no_address(tmp_path: Path, kept_root: None) -> None:
    write_logs(config(tmp_path))
    try:
        raise ValueError("cannot mail ana@example.com")
    except ValueError:
        logging.getLogger("postroom.test").exception("It failed")
    assert "    ValueError" in written(tmp_path)
    assert "ana@example.com" not in written(tmp_path)


def test_what_has_a_line_already_gets_no_second_one(
    tmp_path: Path, kept_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_logs(config(tmp_path))
    logging.getLogger("postroom.test").warning("The server waits", extra=mail_log.HAS_LINE)
    logging.getLogger("postroom.test").warning("Something else")
    assert "The server waits" not in written(tmp_path)
    assert "The server waits" in capsys.readouterr().err


def test_a_command_writes_its_actions_and_says_nothing_on_stderr(
    tmp_path: Path, kept_root: None, capsys: pytest.CaptureFixture[str]
) -> None:
    note_actions(config(tmp_path))
    mail_log.said_now("login", ("peer", "192.0.2.1"))
    assert written(tmp_path).endswith("INFO login peer=192.0.2.1\n")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_what_a_stranger_wrote_begins_no_record_of_its_own(
    tmp_path: Path, kept_root: None, log_format: str
) -> None:
    """The words of a provider go into the log as they came, a traceback's too."""
    write_logs(config(tmp_path, POSTROOM_LOG_FORMAT=log_format))
    forged = "no\x1b[2J\n2026-11-21T06:07:00Z [error] forged\u2028forged"
    log = logging.getLogger("postroom.test")
    log.warning("The provider refused: %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        log.exception("It failed")
    assert "\x1b" not in written(tmp_path)
    lines = written(tmp_path).splitlines()
    assert not any(line.startswith(("2026-11-21T06:07", "forged")) for line in lines)
    assert written(tmp_path).count("The provider refused") == 1
