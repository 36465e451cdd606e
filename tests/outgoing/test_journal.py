"""What a killed worker leaves behind on its machine."""

from __future__ import annotations

import mmap
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outgoing import journal
from postroom.outgoing.journal import Journal, Try
from postroom.wire.reply import EnhancedStatus, Reply

OK = Reply(250, EnhancedStatus(2, 0, 0), "Ok: queued as 4F3A\nsecond line")


def left(folder: Path) -> journal.Left:
    """The one journal that is left behind."""
    [only] = journal.left_behind(folder)
    return only


def test_a_journal_tells_what_was_begun_and_what_was_answered(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "abc")
    writer.begun(1, 1)
    writer.begun(2, 3)
    writer.replied(2, 3, OK)
    writer.close()
    gone = left(tmp_path)
    assert gone.notes.lease == "abc"
    assert gone.notes.is_complete
    assert gone.notes.begun == {Try(1, 1), Try(2, 3)}
    assert gone.notes.replies == {Try(2, 3): OK}
    gone.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_journal_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "abc")
    assert list(journal.left_behind(tmp_path)) == []
    assert journal.is_live(tmp_path, "abc")
    writer.close()
    assert not journal.is_live(tmp_path, "abc")
    assert not journal.is_live(tmp_path, "never")


def test_after_a_restart_of_the_machine_only_its_replies_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Journal(tmp_path, "abc")
    writer.replied(2, 3, OK)
    writer.close()
    monkeypatch.setattr(journal, "boot_id", lambda: "another")
    gone = left(tmp_path)
    assert not gone.notes.is_complete
    assert gone.notes.replies == {Try(2, 3): OK}
    gone.close()


@given(cut=st.integers(0, 400))
def test_a_journal_cut_anywhere_is_still_read(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("journal")
    writer = Journal(folder, "abc")
    for email_id in range(1, 5):
        writer.begun(email_id, 1)
        writer.replied(email_id, 1, OK)
    writer.close()
    octets = writer.path.read_bytes()
    writer.path.write_bytes(octets[:cut])
    gone = left(folder)
    assert gone.notes.lease == "abc"
    assert set(gone.notes.replies) <= gone.notes.begun
    gone.remove()


def test_a_journal_of_many_pages_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PAGE_OCTETS", mmap.ALLOCATIONGRANULARITY)
    writer = Journal(tmp_path, "abc")
    long = Reply(550, None, "No. " * mmap.ALLOCATIONGRANULARITY)
    for email_id in range(1, 400):
        writer.begun(email_id, 1)
        writer.replied(email_id, 1, long if email_id == 200 else OK)
    writer.close()
    gone = left(tmp_path)
    assert gone.notes.begun == {Try(email_id, 1) for email_id in range(1, 400)}
    assert gone.notes.replies == {one: long if one.email_id == 200 else OK for one in gone.notes.begun}
    gone.remove()


@given(first=st.integers(0, 60), octet_count=st.integers(1, 60))
def test_a_note_that_is_not_whole_counts_as_not_written(
    first: int, octet_count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    writer = Journal(folder, "abc")
    writer.begun(7, 1)
    before = writer.path.read_bytes().rstrip(b"\0\n")
    writer.replied(7, 1, OK)
    octets = bytearray(writer.path.read_bytes().rstrip(b"\0"))
    start = min(len(before) + 1 + first, len(octets) - 1)
    octets[start : start + octet_count] = bytes(len(octets[start : start + octet_count]))
    writer.close()
    writer.path.write_bytes(octets)
    gone = left(folder)
    assert gone.notes.begun == {Try(7, 1)}
    assert gone.notes.replies == {}
    gone.remove()


def test_a_killed_worker_leaves_every_note(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys; from postroom.outgoing.journal import Journal;"
        "Journal(pathlib.Path(sys.argv[1]), 'abc').begun(1, 1); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path]).returncode == -signal.SIGKILL
    gone = left(tmp_path)
    assert gone.notes.begun == {Try(1, 1)}
    gone.remove()


def test_a_note_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    writer = Journal(tmp_path, "abc")
    writer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.begun(1, 1)
