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
