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


@pytest.mark.parametrize("reason", ["attempt to write a readonly database", "unable to open database file"])
def test_a_database_that_cannot_be_written_to_is_not_said_to_be_silent(reason: str) -> None:
    refusal = sentence_for(OperationalError(reason))
    assert refusal is not None
    assert "the right to write to the data folder" in refusal.sentence


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


FOUNDING = ("--name", "X", "--admin", "mia@casa.example")


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({"POSTROOM_HTTP": "8080"}, ["up"], "host:port"),
        ({"POSTROOM_SECRET_KEY": "short"}, ["workspace", "list"], "32 characters"),
        ({"RELAY_URL": "gopher://x"}, ["up"], "RELAY_URL"),
        ({"POSTROOM_DATA": "/dev/null"}, ["up"], "which is a file"),
        ({"POSTROOM_DATA": "/dev/null"}, ["queue", "list"], "which is a file"),
        ({"POSTROOM_DATA": "/dev/null/below"}, ["workspace", "create", *FOUNDING], "cannot be made"),
        ({"POSTROOM_DATA": "/dev/null/below"}, ["target"], "cannot be made"),
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


def test_a_command_that_only_looks_leaves_no_folder_behind(tmp_path: Path) -> None:
    new = tmp_path / "new"
    for arguments in (
        ["queue", "list"],
        ["workspace", "list"],
        ["explain", "13"],
        ["explain", "550 5.1.1 x"],
    ):
        ran = subprocess.run(
            [sys.executable, "-c", "from postroom.commands import main; main()", *arguments],
            env={"PATH": "/usr/bin", "POSTROOM_DATA": str(new)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not new.exists()
        is_reply = arguments[1].startswith("550")
        assert ran.returncode == (0 if is_reply else 1)
        assert is_reply or f"There is no workspace yet in the data folder {new}." in ran.stderr
