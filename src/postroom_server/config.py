"""What the installation is told: the environment first, then `<data>/postroom.toml`, then the default.

Every secret may also come from a file named by `<NAME>_FILE`. `postroom config show` prints each value
with its origin.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroom.wire import networks
from postroom.wire.from_filter import FromFilter
from postroom.workspaces import capture_rules


class ConfigError(Exception):
    """The configuration cannot be used; the message names the remedy."""


class FolderUnusable(ConfigError):
    """The data folder cannot be used; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set: its name in the environment, its default and what it is for."""

    name: str
    default: str
    purpose: str
    is_secret: bool = False
    choices: tuple[str, ...] = ()


SETTINGS = (
    Setting("POSTROOM_DATA", "postroom-data", "Folder for the database, the storage, the keys and the logs."),
    Setting("POSTROOM_HTTP", "127.0.0.1:8080", "Where the pages and the API listen (host:port)."),
    Setting("POSTROOM_SMTP", "127.0.0.1:2525", "Where mail comes in (host:port)."),
    Setting("POSTROOM_TARGET", "127.0.0.1:2526", "Where the built-in SMTP target listens (host:port)."),
    Setting("DATABASE_URL", "", "The database; empty means SQLite in the data folder.", is_secret=True),
    Setting(
        "POSTROOM_LISTEN_URL",
        "",
        "The way to PostgreSQL by which wake-ups are heard, where DATABASE_URL leads through a pooler.",
        is_secret=True,
    ),
    Setting(
        "RELAY_URL",
        "",
        "The relay that takes our mail: smtp://, smtp+starttls:// or smtps://user:password@host:port.",
        is_secret=True,
    ),
    Setting(
        "RELAY_FROM_FILTER",
        "",
        "Domains and addresses that the relay lets us send from, with commas between; empty means any.",
    ),
    Setting(
        "POSTROOM_SECRET_KEY",
        "",
        "The key behind sessions and signed addresses; empty means the file secret.key in the data folder.",
        is_secret=True,
    ),
    Setting("POSTROOM_BASE_URL", "", "The address people open; empty means http:// and POSTROOM_HTTP."),
    Setting("POSTROOM_MAIL_DOMAIN", "postroom.localhost", "Workspaces get the mail domain <slug>.<this>."),
    Setting(
        "POSTROOM_DEFAULT_PLAN",
        "paid",
        "The plan of new workspaces; it decides how many emails a day the relay takes from one.",
        choices=("paid", "one_app_free", "trial", "migrating", "unlimited"),
    ),
    Setting("POSTROOM_INSTANCE_ID", "", "Names this installation; set it where the data folder moves about."),
    Setting(
        "POSTROOM_CAPTURE",
        "off",
        f"Capture mode for everybody, which no page can end: {capture_rules.FORMS}.",
    ),
    Setting(
        "POSTROOM_PRIVATE_NETWORKS",
        "",
        "Networks outside the open internet that servers of workspaces and members may lead to, with commas "
        "between, such as 10.1.0.0/16; empty means none. RELAY_URL goes anywhere.",
    ),
    Setting(
        "POSTROOM_OPEN_INTERNET",
        "yes",
        "May servers of workspaces and members lead into the open internet? The demo says no.",
        choices=("yes", "no"),
    ),
    Setting(
        "POSTROOM_METRICS_TOKEN",
        "",
        "Who reads /metrics sends it as a Bearer token; empty means that only this machine may read them.",
        is_secret=True,
    ),
    Setting(
        "POSTROOM_METRICS_BY_WORKSPACE",
        "no",
        "Do the labels of metrics name workspaces and their servers? It makes a series for each.",
        choices=("yes", "no"),
    ),
    Setting("POSTROOM_LOG_FORMAT", "human", "human or json.", choices=("human", "json")),
    Setting(
        "POSTROOM_LOG_ADDRESSES",
        "redacted",
        "redacted: the log shows a****@example.com and a tag by which `postroom log search` finds it; "
        "full: it shows whole addresses.",
        choices=("redacted", "full"),
    ),
    Setting("POSTROOM_LOG_DAYS", "30", "For how many days old log files are kept (1 or more)."),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from: environment, file NAME, or default."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Config:
    """All values of one start."""

    values: Mapping[str, Value]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        return self.values[name].text

    @property
    def data(self) -> Path:
        """The data folder, absolute."""
        return Path(self["POSTROOM_DATA"]).expanduser().resolve()

    @property
    def has_postgres(self) -> bool:
        """Is the database a PostgreSQL, so that several processes may run?"""
        url = self["DATABASE_URL"]
        return bool(url) and not url.startswith("sqlite")

    def endpoint(self, name: str) -> tuple[str, int]:
        """A host:port setting as a pair. Raises ConfigError with the form that is wanted."""
        host, _, port = self[name].rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigError(
                f"{name} is {self[name]!r}; write it as host:port, for example {_BY_NAME[name].default}"
            )
        return host.strip("[]"), int(port)

    @property
    def base_url(self) -> str:
        """Where people open the pages, without a slash at its end."""
        return (self["POSTROOM_BASE_URL"] or f"http://{self['POSTROOM_HTTP']}").rstrip("/")


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration. Raises ConfigError for an unreadable file or a value that cannot be used."""
    environ = os.environ if environ is None else environ
    folder = environ.get("POSTROOM_DATA", _BY_NAME["POSTROOM_DATA"].default)
    in_file = _read_file(Path(folder).expanduser() / "postroom.toml")
    values = {setting.name: _value_of(setting, environ, in_file) for setting in SETTINGS}
    for setting in SETTINGS:
        _check_choice(setting, values[setting.name])
    _check_filter(values["RELAY_FROM_FILTER"])
    _check_capture(values["POSTROOM_CAPTURE"])
    _check_networks(values["POSTROOM_PRIVATE_NETWORKS"])
    _check_days(values["POSTROOM_LOG_DAYS"])
    return Config(values, tuple(_warnings(environ, in_file)))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        if not path.exists():
            return {}
        return {name.upper(): value for name, value in tomllib.loads(path.read_text("utf-8")).items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read as TOML: {error}. Correct the file or move it away."
        ) from error
    except OSError as error:
        raise FolderUnusable(
            f"{path} cannot be read ({error.strerror}). Give this user the right to, "
            "or name another folder with POSTROOM_DATA."
        ) from error


def _value_of(setting: Setting, environ: Mapping[str, str], in_file: Mapping[str, Any]) -> Value:
    if setting.name in environ:
        return Value(environ[setting.name].strip(), "environment")
    if setting.is_secret and f"{setting.name}_FILE" in environ:
        return Value(_secret_from(environ[f"{setting.name}_FILE"], setting.name), f"{setting.name}_FILE")
    if setting.name in in_file:
        return Value(str(in_file[setting.name]).strip(), "postroom.toml")
    return Value(setting.default, "default")


def _check_choice(setting: Setting, value: Value) -> None:
    if setting.choices and value.text not in setting.choices:
        raise ConfigError(
            f"{setting.name} is {value.text!r} ({value.origin}); choose one of {', '.join(setting.choices)}."
        )


def _check_filter(value: Value) -> None:
    try:
        FromFilter.parse(value.text)
    except ValueError as error:
        raise ConfigError(f"RELAY_FROM_FILTER cannot be used ({value.origin}): {error}") from error


def _check_capture(value: Value) -> None:
    try:
        capture_rules.of_environment(value.text)
    except ValueError as error:
        raise ConfigError(f"POSTROOM_CAPTURE cannot be used ({value.origin}): {error}") from error


def _check_networks(value: Value) -> None:
    try:
        networks.parse(value.text)
    except ValueError as error:
        raise ConfigError(f"POSTROOM_PRIVATE_NETWORKS cannot be used ({value.origin}): {error}") from error


def _check_days(value: Value) -> None:
    if not (value.text.isascii() and value.text.isdigit() and 1 <= len(value.text) <= 5 and int(value.text)):
        raise ConfigError(
            f"POSTROOM_LOG_DAYS is {value.text!r} ({value.origin}); write a number of days, 1 or more."
        )


def _secret_from(path: str, name: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{name}_FILE names {path}, which cannot be read ({error.strerror}).") from error


def _warnings(environ: Mapping[str, str], in_file: Mapping[str, Any]) -> list[str]:
    files = {f"{setting.name}_FILE" for setting in SETTINGS if setting.is_secret}
    given = [name for name in environ if name.startswith("POSTROOM_")]
    said = [_unknown(name, {*_BY_NAME, *files}) for name in given if name not in {*_BY_NAME, *files}]
    in_vain = [name for name in in_file if name not in _BY_NAME]
    return said + [f"In postroom.toml: {_unknown(name, {*_BY_NAME})}" for name in in_vain]


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"{name} is not a setting of Postroom" + (f"; did you mean {near[0]}?" if near else ".")
