"""What lies in the storage is whole, or it is not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage

from postroom.conversations import storage
from postroom.conversations.storage import Upload

NAME = "1/ab/abcd"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileSystemStorage:
    """A folder for this test alone."""
    own = FileSystemStorage(tmp_path)
    monkeypatch.setattr(storage, "default_storage", own)
    return own


@pytest.mark.parametrize("earlier", [b"he", b"hullo", b"hello", b""])
def test_what_lies_under_the_name_is_replaced_unless_it_is_the_same(
    files: FileSystemStorage, earlier: bytes
) -> None:
    files.save(NAME, ContentFile(earlier))
    storage.put(NAME, b"hello")
    assert content(files) == b"hello"
    assert files.listdir("1/ab") == ([], ["abcd"])


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_nothing_behind(
    db: None, files: FileSystemStorage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        storage.keep(1, Upload("a.txt", "text/plain", b"hello"))
    assert [path for path in Path(files.path("")).rglob("*") if path.is_file()] == []


def test_other_storages_replace_what_was_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    own = InMemoryStorage()
    monkeypatch.setattr(storage, "default_storage", own)
    own.save(NAME, ContentFile(b"he"))
    storage.put(NAME, b"hello")
    assert content(own) == b"hello"


def test_a_storage_that_keeps_something_else_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(InMemoryStorage):
        def save(self, name: str | None, content: object, max_length: int | None = None) -> str:
            return super().save(name, ContentFile(b"he"), max_length)

    monkeypatch.setattr(storage, "default_storage", Forgetful())
    with pytest.raises(OSError, match="did not keep"):
        storage.put(NAME, b"hello")


@pytest.mark.parametrize("control", ["\r", "\n", "\r\n", "\x1b", "\x00", "\x7f", "\x85", "\u2028"])
def test_controls_in_a_name_become_spaces(control: str) -> None:
    assert Upload(f"a{control}b.pdf", "application/pdf", b"").clean_name == "a b.pdf"


def content(kept: Storage) -> bytes:
    with kept.open(NAME) as file:
        octets: bytes = file.read()
    return octets
