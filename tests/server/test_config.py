"""Where a value comes from, and what is said about one that cannot be used."""

from pathlib import Path

import pytest

from postroom_server import config as configuration
from postroom_server.config import ConfigError, FolderUnusable


def test_the_environment_comes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    (tmp_path / "postroom.toml").write_text('postroom_http = "127.0.0.1:1"\nPOSTROOM_SMTP = "127.0.0.1:2"\n')
    config = configuration.load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_SMTP": "127.0.0.1:3"})
    assert (config["POSTROOM_SMTP"], config.values["POSTROOM_SMTP"].origin) == ("127.0.0.1:3", "environment")
    assert (config["POSTROOM_HTTP"], config.values["POSTROOM_HTTP"].origin) == (
        "127.0.0.1:1",
        "postroom.toml",
    )
    assert config.values["POSTROOM_TARGET"].origin == "default"


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "relay"
    secret.write_text("smtp://relay.example\n")
    config = configuration.load({"POSTROOM_DATA": str(tmp_path), "RELAY_URL_FILE": str(secret)})
    assert config["RELAY_URL"] == "smtp://relay.example"
    assert config.values["RELAY_URL"].origin == "RELAY_URL_FILE"


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RELAY_URL_FILE names .*/nowhere"):
        configuration.load({"POSTROOM_DATA": str(tmp_path), "RELAY_URL_FILE": str(tmp_path / "nowhere")})


def test_a_misspelt_variable_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    config = configuration.load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_HTPP": "x"})
    assert config.warnings == ("POSTROOM_HTPP is not a setting of Postroom; did you mean POSTROOM_HTTP?",)


@pytest.mark.parametrize("text", ["8080", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:70000", ":8080"])
def test_an_endpoint_that_is_none_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    config = configuration.load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_HTTP": text})
    with pytest.raises(ConfigError, match=r"write it as host:port, for example 127.0.0.1:8080"):
        config.endpoint("POSTROOM_HTTP")


def test_an_endpoint_may_be_an_ipv6_address(tmp_path: Path) -> None:
    config = configuration.load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_HTTP": "[::1]:8080"})
    assert config.endpoint("POSTROOM_HTTP") == ("::1", 8080)


def test_a_broken_file_is_named_with_its_fault(tmp_path: Path) -> None:
    (tmp_path / "postroom.toml").write_text("this is not toml")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        configuration.load({"POSTROOM_DATA": str(tmp_path)})


def test_a_value_outside_the_choices_is_refused_with_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"POSTROOM_LOG_FORMAT is 'xml' \(environment\); .* human, json"):
        configuration.load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_LOG_FORMAT": "xml"})


@pytest.mark.parametrize("text", ["on", "redirect", "allow:nobody@"])
def test_a_capture_mode_that_is_none_stops_the_start_with_the_forms_it_may_have(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(
        ConfigError, match=r"POSTROOM_CAPTURE cannot be used \(environment\): .* off, all, redirect:"
    ):
        configuration.load({"POSTROOM_DATA": str(tmp_path), "POSTROOM_CAPTURE": text})


def test_a_misspelt_name_in_the_file_is_told_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "postroom.toml").write_text('postroom_htpp = "x"\n')
    config = configuration.load({"POSTROOM_DATA": str(tmp_path)})
    assert config.warnings == (
        "In postroom.toml: POSTROOM_HTPP is not a setting of Postroom; did you mean POSTROOM_HTTP?",
    )


def test_a_file_that_may_not_be_read_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "postroom.toml").mkdir()
    with pytest.raises(FolderUnusable, match="Give this user the right to"):
        configuration.load({"POSTROOM_DATA": str(tmp_path)})
