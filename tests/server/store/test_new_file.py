"""A new file is there as a whole or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom_server.store import landing, new_file
from postroom_server.store.refusals import StoreRefused


@pytest.fixture
def little_room() -> Iterator[None]:
    """No file may be longer than this; the system then refuses like a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with new_file.beside(path) as (file, part):
        file.write(b"half")
        assert not path.exists()
        assert part.exists()
    assert path.read_bytes() == b"half"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("little_room")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreRefused, match="There is no room for"),
        new_file.beside(tmp_path / "a.tar") as (file, _),
    ):
        file.write(b"x" * 200_000)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten_even_if_it_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with pytest.raises(StoreRefused, match="is not overwritten"), new_file.beside(path):
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_backup_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "a.tar.x1.part").write_bytes(b"left behind")
    with new_file.beside(tmp_path / "b.tar"):
        assert (tmp_path / "a.tar.x1.part").exists()
    with new_file.beside(tmp_path / "a.tar") as (_, part):
        new_file._clear_away(tmp_path / "a.tar")
        assert part.exists(), "one that is being written is not left behind"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar"]


@pytest.mark.parametrize("name", ["a.zip", "a", "a.gz"])
def test_a_name_that_is_no_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreRefused, match=r"ends in \.tar or \.tar\.gz"):
        new_file.check_name(tmp_path / name)


def test_a_folder_that_holds_something_is_not_restored_into(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(StoreRefused, match=r"it holds letter\.txt"), landing.landing_place(tmp_path):
        pytest.fail("it was begun")
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_a_restore_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    folder = tmp_path / "new"

    def restore() -> None:
        with landing.landing_place(folder) as place:
            (place / "postroom.sqlite3").touch()
            landing.take_over(place)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        restore()
    assert not folder.exists()


def test_two_restores_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    with landing.landing_place(tmp_path) as place:
        (place / "secret.key").touch()
        with pytest.raises(StoreRefused, match="Another restore"), landing.landing_place(tmp_path):
            pytest.fail("it was begun")
        assert (place / "secret.key").exists()


def test_a_restore_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / ".restoring" / "storage").mkdir(parents=True)
    (tmp_path / "secret.key").write_text("of the first try")
    with landing.landing_place(tmp_path) as place:
        assert [path.name for path in place.iterdir()] == ["lock"]
        assert not (tmp_path / "secret.key").exists()
    assert list(tmp_path.iterdir()) == []
