"""The keys: made once, outside the database, never silently replaced."""

import os
from pathlib import Path

import pytest

from postroom_server import config as configuration
from postroom_server import keys
from postroom_server.config import Config, ConfigError

SECRET = "s" * 32


def config_for(folder: Path, **environ: str) -> Config:
    return configuration.load({"POSTROOM_DATA": str(folder), **environ})


def test_the_first_start_makes_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    made = keys.load_or_make(config_for(tmp_path))
    assert list(made) == [1]
    assert os.stat(tmp_path / "secret.key").st_mode & 0o777 == 0o600


def test_the_second_start_finds_the_same_key(tmp_path: Path) -> None:
    assert keys.load_or_make(config_for(tmp_path)) == keys.load_or_make(config_for(tmp_path))


def test_a_database_without_its_key_is_not_given_another_one(tmp_path: Path) -> None:
    (tmp_path / "postroom.sqlite3").touch()
    with pytest.raises(ConfigError, match=r"its key is missing. Put secret.key back"):
        keys.load_or_make(config_for(tmp_path))
    assert not (tmp_path / "secret.key").exists()


def test_the_environment_can_carry_one_key_or_several(tmp_path: Path) -> None:
    one = keys.load_or_make(config_for(tmp_path, POSTROOM_SECRET_KEY=SECRET))
    several = keys.load_or_make(config_for(tmp_path, POSTROOM_SECRET_KEY=f"1:{SECRET},2:{'t' * 32}"))
    assert one == {1: several[1]}
    assert sorted(several) == [1, 2]
    assert not (tmp_path / "secret.key").exists()


@pytest.mark.parametrize(
    "text", ["short", "0:" + SECRET, "256:" + SECRET, "x:" + SECRET, "1:short", "1:" + SECRET + " 2"]
)
def test_a_key_that_cannot_be_used_is_refused_with_its_form(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="NUMBER:SECRET"):
        keys.load_or_make(config_for(tmp_path, POSTROOM_SECRET_KEY=text))


def test_each_purpose_has_a_key_of_its_own() -> None:
    key = keys.parse(SECRET)[1]
    assert keys.derive(key, "tokens") != keys.derive(key, "django")
    assert len(keys.derive(key, "tokens")) == 32


def test_a_rotation_adds_a_line_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    before = keys.load_or_make(config_for(tmp_path))
    assert [keys.add_next(config_for(tmp_path)), keys.add_next(config_for(tmp_path))] == [2, 3]
    after = keys.load_or_make(config_for(tmp_path))
    assert (sorted(after), after[1]) == ([1, 2, 3], before[1])
    assert os.stat(tmp_path / "secret.key").st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_a_bare_key_becomes_number_1(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text(f"{SECRET}\n")
    before = keys.load_or_make(config_for(tmp_path))
    assert keys.add_next(config_for(tmp_path)) == 2
    assert keys.load_or_make(config_for(tmp_path))[1] == before[1]


def test_a_rotation_that_was_cut_off_leaves_the_keys_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys.load_or_make(config_for(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("cut off")))
        with pytest.raises(OSError, match="cut off"):
            keys.add_next(config_for(tmp_path))
    assert keys.load_or_make(config_for(tmp_path)) == before
    assert keys.add_next(config_for(tmp_path)) == 2


def test_a_link_in_the_place_of_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "its.key").write_text(f"1:{SECRET}\n")
    (tmp_path / "secret.key").symlink_to(tmp_path / "kept" / "its.key")
    keys.add_next(config_for(tmp_path))
    assert (tmp_path / "secret.key").is_symlink()
    assert sorted(keys.load_or_make(config_for(tmp_path))) == [1, 2]


def test_keys_that_somebody_else_keeps_are_not_rotated_here(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write 1:OLD,2:NEW"):
        keys.add_next(config_for(tmp_path, POSTROOM_SECRET_KEY=SECRET))


def test_after_the_last_number_there_is_no_next(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text(f"255:{SECRET}\n")
    with pytest.raises(ConfigError, match="the last number"):
        keys.add_next(config_for(tmp_path))


def test_the_newest_key_seals_first(tmp_path: Path) -> None:
    sealing = keys.sealing_keys({1: b"a" * 32, 3: b"c" * 32, 2: b"b" * 32})
    assert list(sealing) == [3, 2, 1]
    assert sealing[1] == keys.derive(b"a" * 32, "sealing")


def test_a_new_key_leaves_the_file_to_whom_it_belonged(tmp_path: Path) -> None:
    """An administrator who rotates as root must not take the keys from the user that Postroom runs as."""
    config = config_for(tmp_path)
    keys.load_or_make(config)
    path = tmp_path / "secret.key"
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 4711, 4712)
    before = path.stat()
    keys.add_next(config)
    now = path.stat()
    assert (now.st_uid, now.st_gid, now.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert now.st_ino != before.st_ino


def test_a_new_key_that_would_take_the_file_from_its_owner_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path)
    keys.load_or_make(config)
    text = (tmp_path / "secret.key").read_text()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(ConfigError, match="Run the command as the user that Postroom runs as, or as root"):
        keys.add_next(config)
    assert (tmp_path / "secret.key").read_text() == text
