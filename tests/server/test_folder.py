"""A data folder that cannot be used is said to be one, with the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postroom_server import config as configuration
from postroom_server import folder
from postroom_server.config import Config, FolderUnusable


def config_of(data: Path, **settings: str) -> Config:
    return configuration.load({"POSTROOM_DATA": str(data), **settings})


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert folder.prepare(config_of(tmp_path / "a" / "b")).is_dir()


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
