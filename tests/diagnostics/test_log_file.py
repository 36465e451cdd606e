"""The log of several processes: no line lost, none cut, none twice, whatever dies in between."""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from postroom.diagnostics import log_days, log_file
from postroom.diagnostics.log_days import CURRENT, PREVIOUS, kept_in, tidy
from tests.diagnostics.log_writer import DAY, LINES, NOON, log_in

ROOT = Path(__file__).resolve().parent.parent.parent
WHOLE = re.compile(r"(\w+) (\d+) x{60}|log_opened day=\S+ \S+|log_gap lines=\d+")
PLACES = [CURRENT, PREVIOUS]


def writer(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.diagnostics.log_writer", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said_by(*arguments: object) -> list[int]:
    with writer(*arguments) as process:
        return [int(line) for line in process.communicate()[0].split()]


def lines_in(folder: Path) -> list[str]:
    lines: list[str] = []
    for kept in kept_in(folder):
        octets = gzip.decompress(kept.path.read_bytes()) if kept.is_packed else kept.path.read_bytes()
        assert octets.endswith(b"\n"), kept
        lines += octets.decode().splitlines()
    return lines


def numbers_in(folder: Path, name: str) -> Counter[int]:
    found = [WHOLE.fullmatch(line) for line in lines_in(folder)]
    assert all(found), [line for line in lines_in(folder) if not WHOLE.fullmatch(line)]
    return Counter(int(each[2]) for each in found if each is not None and each[1] == name)


def test_two_processes_lose_cut_and_double_nothing_over_many_days(tmp_path: Path) -> None:
    """Their clocks differ by half an hour, and old files are compressed meanwhile."""
    began_at, count = time.monotonic(), 20_000
    both = [
        writer("write", tmp_path, name, count, skew, began_at)
        for name, skew in (("early", 0), ("late", -1800))
    ]
    while any(each.poll() is None for each in both):
        tidy(tmp_path, days=10_000, now=time.time() + DAY, quiet_seconds=0.05 + DAY)
        time.sleep(0.02)
    assert [each.communicate()[0] for each in both] == ["", ""]
    assert [each.returncode for each in both] == [0, 0]
    for name in ("early", "late"):
        assert numbers_in(tmp_path, name) == Counter(range(count))
    assert len(kept_in(tmp_path)) > 3, "the day changed too seldom for this to mean anything"
    days = [kept.day for kept in kept_in(tmp_path)]
    assert days == sorted(set(days)), "a day has two files"


def test_a_process_killed_at_any_step_leaves_a_log_that_the_next_writer_repairs(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    steps = said_by("step", tmp_path / "whole", 0)[-1]
    assert steps > 8
    for killed_at in range(1, steps + 1):
        folder = tmp_path / str(killed_at)
        folder.mkdir()
        yesterday = log_in(folder, lambda: NOON - DAY)
        yesterday.write(f"before 0 {'x' * 60}\n")
        yesterday.close()
        written = said_by("step", folder, killed_at)
        assert len(written) <= LINES
        after = log_in(folder, lambda: NOON + DAY)
        assert after.write(f"after 0 {'x' * 60}\n")
        after.close()
        assert numbers_in(folder, "child") == Counter(written), killed_at
        assert numbers_in(folder, "before") == numbers_in(folder, "after") == Counter([0]), killed_at
        assert [kept.day for kept in kept_in(folder)][-1] == date(2026, 11, 21), killed_at


def test_compressing_that_is_killed_at_any_step_is_done_again(tmp_path: Path) -> None:
    def folder_of(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(3):
            log = log_in(folder, lambda number=number: NOON + number * DAY)  # type: ignore[misc]
            log.write(f"child {number} {'x' * 60}\n")
            log.close()
        return folder

    (steps,) = said_by("tidy", folder_of("whole"), 0)
    assert steps > 4
    for killed_at in range(1, steps + 1):
        folder = folder_of(str(killed_at))
        assert said_by("tidy", folder, killed_at) == []
        assert numbers_in(folder, "child") == Counter(range(3)), killed_at
        tidy(folder, days=10_000, now=time.time(), quiet_seconds=0)
        assert numbers_in(folder, "child") == Counter(range(3)), killed_at
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        assert names == [CURRENT, PREVIOUS, f"{CURRENT}.2026-11-20.gz"], killed_at


@pytest.mark.parametrize(
    ("at", "day"),
    [("2026-11-21T04:59:59", "2026-11-20"), ("2026-11-21T05:00:00", "2026-11-21")],
)
def test_a_day_of_the_log_begins_at_five_utc(at: str, day: str) -> None:
    moment = datetime.fromisoformat(f"{at}+00:00").timestamp()
    assert log_days.day_of(moment) == date.fromisoformat(day)
    assert log_days.end_of(date(2026, 11, 20)) == datetime(2026, 11, 21, 5, tzinfo=UTC).timestamp()


def test_who_slept_at_five_begins_a_new_file_with_the_first_line_after_it(tmp_path: Path) -> None:
    now = [NOON]
    log = log_in(tmp_path, lambda: now[0])
    log.write("one\n")
    now[0] += 3 * DAY
    log.write("two\n")
    assert (tmp_path / CURRENT).read_text().splitlines()[1:] == ["two"]
    assert (tmp_path / PREVIOUS).read_text().splitlines()[1:] == ["one"]


def test_a_file_that_somebody_else_changed_for_a_new_one_is_noticed(tmp_path: Path) -> None:
    first, second = log_in(tmp_path, lambda: NOON), log_in(tmp_path, lambda: NOON)
    first.write("one\n")
    second.write("two\n")
    (tmp_path / CURRENT).rename(tmp_path / "moved by logrotate")
    first.write("three\n")
    second.write("four\n")
    assert (tmp_path / CURRENT).read_text().splitlines()[1:] == ["three", "four"]


def test_a_clock_that_is_a_little_late_does_not_begin_the_day_twice(tmp_path: Path) -> None:
    five = datetime(2026, 11, 21, 5, tzinfo=UTC).timestamp()
    early, late = log_in(tmp_path, lambda: five), log_in(tmp_path, lambda: five - 2)
    late.write("one\n")
    early.write("two\n")
    late.write("three\n")
    early.write("four\n")
    assert [kept.day for kept in kept_in(tmp_path)] == [date(2026, 11, 20), date(2026, 11, 21)]
    assert (tmp_path / CURRENT).read_text().splitlines()[1:] == ["two", "three", "four"]


def test_a_late_clock_that_finishes_a_change_of_day_names_the_new_day(tmp_path: Path) -> None:
    """The one who began it was killed after it had moved the file away."""
    five = datetime(2026, 11, 21, 5, tzinfo=UTC).timestamp()
    log_in(tmp_path, lambda: five - 60).write("one\n")
    (tmp_path / CURRENT).rename(tmp_path / PREVIOUS)
    log_in(tmp_path, lambda: five - 2).write("two\n")
    log_in(tmp_path, lambda: five + 2).write("three\n")
    assert [kept.day for kept in kept_in(tmp_path)] == [date(2026, 11, 20), date(2026, 11, 21)]


def test_a_file_from_a_clock_that_was_years_ahead_does_not_stop_the_days(tmp_path: Path) -> None:
    log_in(tmp_path, lambda: NOON + 4000 * DAY).write("from afar\n")
    log_in(tmp_path, lambda: NOON).write("here\n")
    assert (tmp_path / CURRENT).read_text().splitlines()[1:] == ["here"]


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    now = [NOON]
    log = log_in(tmp_path, lambda: now[0])
    for _ in range(3):
        log.write("one\n")
        now[0] += DAY
    tidy(tmp_path, days=10_000, now=time.time(), quiet_seconds=0)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) == 5
    assert set(modes.values()) == {0o600}


def test_a_disk_without_room_stops_nobody_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = log_in(tmp_path, lambda: NOON)
    assert log.write("one\n")
    real, is_full = os.write, True

    def full(descriptor: int, octets: bytes) -> int:
        return real(descriptor, octets[:3]) if is_full else real(descriptor, octets)

    monkeypatch.setattr(os, "write", full)
    assert not log.write("two\nthree\n")
    assert not log.write("four\n")
    assert log.missed_count == 3
    is_full = False
    assert log.write("five\n")
    assert (tmp_path / CURRENT).read_text().splitlines()[1:] == ["one", "log_gap lines=3", "five"]
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_stopped_process_that_keeps_the_lock_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "PATIENCE_SECONDS", 0.05)
    log = log_in(tmp_path, lambda: NOON)
    log.write("one\n")
    with (tmp_path / log_file.LOCK).open("r+") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert log.write("two\n")
        begun = time.monotonic()
        assert all(log.write(f"{number}\n") for number in range(100))
        assert time.monotonic() - begun < 1, "each line waited for a lock that nobody gives"
    assert len((tmp_path / CURRENT).read_text().splitlines()) == 103


def test_what_is_written_while_somebody_keeps_the_lock_is_not_glued_to_a_cut_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "PATIENCE_SECONDS", 0.05)
    log = log_in(tmp_path, lambda: NOON)
    log.write("one\n")
    with (tmp_path / log_file.LOCK).open("r+") as stopped, (tmp_path / CURRENT).open("a") as killed:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        killed.write("cut to=a")
        killed.flush()
        assert log.write("two\n")
        assert log.write("three\n")
    log.write("four\n")
    assert (tmp_path / CURRENT).read_text().splitlines()[1:] == ["one", "cut to=a", "two", "three", "four"]


def test_old_files_go_by_their_last_line_and_not_by_their_first(tmp_path: Path) -> None:
    """A log of before there was a file a day spans months: what was written last month is kept."""
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    for name, last in (("2026-03-01", 3), ("2026-10-01", 40), ("2026-10-30", 22)):
        path = tmp_path / f"{CURRENT}.{name}.gz"
        path.write_bytes(gzip.compress(b"line\n"))
        at = (now - timedelta(days=last)).timestamp()
        os.utime(path, (at, at))
    tidy(tmp_path, days=30, now=now.timestamp())
    assert [str(kept.day) for kept in kept_in(tmp_path)] == ["2026-03-01", "2026-10-30"]


def test_a_log_of_before_is_dated_by_its_first_line(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_text("2026-11-18T03:00:00.123456Z [info     ] It begins [postroom]\n")
    log_in(tmp_path, lambda: NOON).write("one\n")
    assert [kept.day for kept in kept_in(tmp_path)] == [date(2026, 11, 17), date(2026, 11, 20)]
