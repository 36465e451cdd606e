"""A data folder that cannot be used is said to be one, with the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom_server import config as configuration
from postroom_server import folder
from postroom_server.config import Config, FolderUnusable


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:o}"


def config_of(data: Path, **settings: str) -> Config:
    return configuration.load({"POSTROOM_DATA": str(data), **settings})


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert folder.prepare(config_of(tmp_path / "a" / "b")).is_dir()


def test_a_new_folder_and_what_is_made_in_it_is_for_its_user_alone(tmp_path: Path) -> None:
    made = folder.prepare(config_of(tmp_path / "new"))
    (made / "logs").mkdir()
    (made / "logs" / "postroom.log").touch()
    assert [mode_of(path) for path in (made, made / "logs", made / "logs" / "postroom.log")] == [
        "700",
        "700",
        "600",
    ]


def test_an_earlier_folder_of_ours_is_closed_to_others(tmp_path: Path) -> None:
    made = tmp_path / "old"
    made.mkdir(mode=0o755)
    for name in ("secret.key", "postroom.sqlite3"):
        (made / name).touch(mode=0o644)
    folder.prepare(config_of(made))
    assert (mode_of(made), mode_of(made / "postroom.sqlite3")) == ("700", "600")


def test_a_folder_that_was_given_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o755)
    folder.prepare(config_of(given))
    assert mode_of(given) == "755"
    (given / "secret.key").touch()
    monkeypatch.setattr(os, "geteuid", lambda: given.stat().st_uid + 1)
    folder.prepare(config_of(given))
    assert mode_of(given) == "755"


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"/file, which is a file\. Name a folder"):
        folder.prepare(config_of(tmp_path / "file"))


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"cannot be made \(Not a directory\)\. Make it for this user"):
        folder.prepare(config_of(tmp_path / "file" / "below"))


@pytest.mark.parametrize("name", [".", "postroom.sqlite3", "logs/postroom.log"])
def test_what_is_there_but_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "logs").mkdir()
    for file in ("postroom.sqlite3", "logs/postroom.log"):
        (tmp_path / file).touch()
    config = config_of(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path / name)  # root may write everywhere
    with pytest.raises(FolderUnusable, match="cannot be written to") as caught:
        folder.prepare(config)
    assert str(caught.value).startswith(f"{tmp_path / name} ")


def test_a_folder_is_untouched_until_something_was_started_on_it(tmp_path: Path) -> None:
    assert folder.is_untouched(config_of(tmp_path / "new"))
    assert folder.is_untouched(config_of(tmp_path))
    assert not folder.is_untouched(config_of(tmp_path, DATABASE_URL="postgresql://somewhere"))
    (tmp_path / "secret.key").touch()
    assert not folder.is_untouched(config_of(tmp_path))


def test_a_folder_whose_restore_did_not_end_is_not_started_on(tmp_path: Path) -> None:
    (tmp_path / folder.RESTORING).mkdir()
    with pytest.raises(FolderUnusable, match="run `postroom restore` once more"):
        folder.prepare(config_of(tmp_path))


@pytest.mark.parametrize("url", ["", "sqlite:///{place}/postroom.sqlite3"])
def test_a_database_that_was_moved_is_not_started_on_by_accident(tmp_path: Path, url: str) -> None:
    config = config_of(tmp_path, DATABASE_URL=url.format(place=tmp_path))
    assert folder.sqlite_file(config) == tmp_path / "postroom.sqlite3"
    mark = tmp_path / "postroom.sqlite3-moved"
    mark.write_text("This installation was moved to postgresql://db.example/postroom.\n")
    with pytest.raises(
        FolderUnusable, match=r"moved to postgresql://db\.example/postroom\. Set DATABASE_URL"
    ):
        folder.prepare(config)
    folder.prepare(config_of(tmp_path, DATABASE_URL="postgresql://db.example/postroom"))
    mark.unlink()
    folder.prepare(config)
