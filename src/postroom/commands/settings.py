"""`postroom config …` and `postroom readyz`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from postroom.commands.calling import line_for
from postroom.commands.output import AsJson, print_list, print_one

if TYPE_CHECKING:
    from postroom_server.config import Setting, Value

app = typer.Typer(help="What the installation is told.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class SettingShape:
    """A setting, its value (secrets hidden) and where it came from."""

    name: str
    value: str
    origin: str
    purpose: str


@dataclass(frozen=True, slots=True)
class ReadinessShape:
    """Is the installation ready? `answer` is what it said, or why it could not be asked."""

    is_ready: bool
    url: str
    answer: Any


@app.callback()
def _settings() -> None:
    """What the installation is told."""


@app.command("show", epilog="Example: postroom config show --json")
def show(as_json: AsJson = False) -> None:
    """Show every setting with its value and where it came from."""
    from postroom_server import config as configuration

    config = configuration.load()
    shapes = [
        SettingShape(
            setting.name,
            _shown(setting, config.values[setting.name]),
            config.values[setting.name].origin,
            setting.purpose,
        )
        for setting in configuration.SETTINGS
    ]
    print_list(shapes, ("name", "value", "origin", "purpose"), as_json=as_json)


def readyz(as_json: AsJson = False) -> None:
    """Ask the running installation whether it is ready; exits 0 only if it is."""
    from postroom.commands.failures import Stopped
    from postroom_server import config as configuration

    config = configuration.load()
    host, port = config.endpoint("POSTROOM_HTTP")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz"
    is_ready, answer = _ask(url, config["POSTROOM_METRICS_TOKEN"])
    if as_json or is_ready:
        print_one(ReadinessShape(is_ready, url, answer), _ready_in_words(answer), as_json=as_json)
    if not is_ready:
        raise Stopped(_not_ready_in_words(url, answer))


def _ask(url: str, token: str) -> tuple[bool, Any]:
    """With the token it says what it found, not only whether it is ready."""
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            return True, json.load(response)
    except urllib.error.HTTPError as error:
        return False, _read(error)
    except TimeoutError:
        return False, "no answer in 10 seconds"
    except ValueError:
        return False, "an answer that is not Postroom's"
    except OSError as error:
        return False, str(getattr(getattr(error, "reason", error), "strerror", None) or "no connection")


def _read(refused: urllib.error.HTTPError) -> Any:
    text = refused.read(100_000).decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text[:1000]


def _ready_in_words(answer: Any) -> str:
    """What POSTROOM_HTTP said of itself; a stranger is told no more than that it is ready."""
    figures = answer.get("figures", {}) if isinstance(answer, dict) else {}
    if not figures.get("is_capturing"):
        return "Ready."
    status = line_for("capture status")
    return f"Ready. Capture mode keeps mail in, or redirects it: `{status}` says which, and how it ends."


# In this order: what stands above is why the ones below could not be seen.
_REMEDIES = {
    "database": "The database does not answer: start it, or correct DATABASE_URL (`postroom config show`).",
    "migrations": "The tables are not those of this version: a start of `postroom up`, `postroom web` or "
    "`postroom worker` brings them up to date.",
    "engine": "No engine runs, so nothing is sent: start `postroom up` or `postroom worker`.",
}
_DISK = "The disk is nearly full, and mail that comes in may find no room: free some of it."


def _not_ready_in_words(url: str, answer: Any) -> str:
    if not isinstance(answer, dict):
        remedy = "Start it, or say where it listens with POSTROOM_HTTP."
        return f"Postroom does not answer at {url} ({answer}). {remedy}"
    if "checks" not in answer:
        return (
            f"{url} is not ready, and says why only on its own machine or to POSTROOM_METRICS_TOKEN: "
            "set the one that it was started with."
        )
    checks = answer["checks"]
    found = [remedy for name, remedy in _REMEDIES.items() if not checks.get(name)][:1]
    found += [] if checks.get("disk") else [_DISK]
    return f"{url} is not ready. {' '.join(found)}"


def _shown(setting: Setting, value: Value) -> str:
    if not setting.is_secret or not value.text:
        return value.text
    if "://" in value.text:
        return _without_password(value.text)
    return "(hidden)"


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit

    url, has_query, query = url.partition("?")  # a query may name a password, too
    if "#" in url or "@" in query:  # perhaps a password with such a character, not written as %23 or %3F
        return "(hidden)"
    parts = urlsplit(url)
    if parts.password is not None:
        url = url.replace(f":{parts.password}@", ":(hidden)@", 1)
    return f"{url}?(hidden)" if has_query else url
