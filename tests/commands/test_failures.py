"""What people can cause ends in one sentence, never in a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError

from postroom.commands.failures import Stopped, sentence_for
from postroom.wire.address import AddressError
from postroom.workspaces.installation import KeysDoNotFit
from postroom.workspaces.refusals import RequestRefused
from postroom_server.config import ConfigError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Stopped("Stop."), 1),
        (Stopped("Wrong.", 2), 2),
        (ConfigError("Set it."), 2),
        (KeysDoNotFit("Put the key back."), 1),
        (RequestRefused("No."), 1),
        (AddressError("Not an address."), 2),
    ],
)
def test_the_sentence_of_the_error_is_what_is_said(error: Exception, code: int) -> None:
    refusal = sentence_for(error)
    assert refusal is not None
    assert (refusal.sentence, refusal.exit_code) == (str(error), code)


def test_a_database_that_does_not_answer_names_the_setting() -> None:
    refusal = sentence_for(OperationalError("connection\n refused"))
    assert refusal is not None
    assert "DATABASE_URL" in refusal.sentence
    assert "\n" not in refusal.sentence


def test_a_database_without_tables_says_to_start_once() -> None:
    refusal = sentence_for(OperationalError("no such table: postroom_workspace"))
    assert refusal is not None
    assert "postroom up" in refusal.sentence


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Path("/nowhere/letter.eml").read_bytes()
    refusal = sentence_for(caught.value)
    assert refusal is not None
    assert refusal.sentence.startswith("/nowhere/letter.eml: ")


def test_a_defect_keeps_its_traceback() -> None:
    assert sentence_for(ZeroDivisionError()) is None


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"POSTROOM_HTTP": "8080"}, ["up"], "host:port"),
        ({"POSTROOM_SECRET_KEY": "short"}, ["workspace", "list"], "32 characters"),
        ({"RELAY_URL": "gopher://x"}, ["up"], "RELAY_URL"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, ["workspace", "list"], "DATABASE_URL"),
    ],
)
def test_a_wrong_setting_ends_in_one_sentence_on_stderr(
    tmp_path: Path, environment: dict[str, str], arguments: list[str], words: str
) -> None:
    free = {"POSTROOM_HTTP": "127.0.0.1:0", "POSTROOM_SMTP": "127.0.0.1:0"}
    ran = subprocess.run(
        [sys.executable, "-c", "from postroom.commands import main; main()", *arguments],
        env={"PATH": "/usr/bin", "POSTROOM_DATA": str(tmp_path), **free, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode in (1, 2)
    assert "Traceback" not in ran.stderr
    assert words in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
