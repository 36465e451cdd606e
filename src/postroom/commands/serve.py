"""`postroom demo` and `postroom up`."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from postroom.commands.failures import Stopped
from postroom.commands.opening import DEMO_FOLDER

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from postroom.engine.embedded import Engine
    from postroom.smtp.target import Target
    from postroom.workspaces.models import Installation
    from postroom_server.config import Config

log = logging.getLogger("postroom.starting")


DEMO_SETTINGS = ("RELAY_URL", "POSTROOM_PRIVATE_NETWORKS", "POSTROOM_OPEN_INTERNET")
DEMO_MARK = "# Written by `postroom demo` at each start."


def _tell_commands(config: Config) -> None:
    """Let commands on the demo's folder go by what the demo runs with; a file of somebody's own is kept."""
    path = config.data / "postroom.toml"
    if not path.exists() or path.read_text("utf-8").startswith(DEMO_MARK):
        lines = [DEMO_MARK, *(f'{name} = "{os.environ[name]}"' for name in DEMO_SETTINGS)]
        path.write_text("\n".join(lines) + "\n", "utf-8")


def demo() -> None:
    """Start everything with a demo workspace and a built-in SMTP target. Nothing leaves this machine.

    The demo lives in the folder postroom-demo (POSTROOM_DATA chooses another). Ctrl-C stops it.
    """
    os.environ.setdefault("POSTROOM_DATA", DEMO_FOLDER)
    config = _load()
    engine = _claim_folder(config)
    http = _take_endpoints(config, has_target=True)
    os.environ["RELAY_URL"] = f"smtp://{os.environ['POSTROOM_TARGET']}"
    os.environ.setdefault("POSTROOM_PRIVATE_NETWORKS", "127.0.0.0/8, ::1")  # all of it is on this machine
    os.environ["POSTROOM_OPEN_INTERNET"] = "no"  # nothing leaves it, over whichever server
    _tell_commands(config)
    config = _make_ready(engine)

    from postroom.commands import demo_story
    from postroom.commands.target import built_in_target

    story = demo_story.tell_once(config.data)

    async def announce() -> None:
        await demo_story.wait_for_red_envelope(story)
        for line in demo_story.what_to_try(story, config):
            print(line)
        _say_ready(config)

    _run(config, http, engine, target=built_in_target(config), announce=announce)


def up() -> None:
    """Start everything: pages, API, incoming mail and the queue, in one process. Ctrl-C stops it.

    At the very first start it asks for the workspace, its administrator and a password if there is a
    terminal; otherwise make the workspace with `postroom workspace create`.
    """
    config = _load()
    engine = _claim_folder(config)
    http = _take_endpoints(config, has_target=False)
    config = _make_ready(engine)
    _found_first_workspace(config)

    async def announce() -> None:
        _say_ready(config)

    _run(config, http, engine, target=None, announce=announce)


def _load() -> Config:
    from postroom_server import config as configuration

    config = configuration.load()
    for warning in config.warnings:
        print(warning, file=sys.stderr)
    return config


def _claim_folder(config: Config) -> Engine:
    """Take the data folder, before the addresses: a second start is told of the first, not of its ports."""
    from postroom.engine.embedded import Engine
    from postroom_server import folder

    engine = Engine(folder.prepare(config), ())
    engine.claim()
    return engine


def _take_endpoints(config: Config, *, has_target: bool) -> socket.socket:
    """Take the pages' address and see that the others are free."""
    from postroom.commands import endpoints

    endpoints.find(config, "POSTROOM_SMTP")
    if has_target:
        endpoints.find(config, "POSTROOM_TARGET")
    return endpoints.take(config, "POSTROOM_HTTP")


def _make_ready(engine: Engine) -> Config:
    """Check the relay, bring the tables up to date, know the installation, tell the engine its lanes."""
    from postroom.commands import logs, opening

    config = opening.set_up_django()
    logs.write_logs(config)
    from postroom.flows import acting
    from postroom.flows.lanes import lane_kinds
    from postroom.workspaces import installation

    _check_relay(config["RELAY_URL"])
    engine.kinds = tuple(lane_kinds())
    opening.make_tables()
    acting.get_ready()
    say_capture(installation.recognise())
    return config


def say_capture(row: Installation) -> None:
    """What is captured is said where the start is watched, too: a copy's operator looks there first."""
    from postroom.commands.capturing import installation_in_words

    if words := installation_in_words(row):
        log.warning(words)


def _check_relay(url: str) -> None:
    from postroom.smtp.relay import Relay

    if url:
        try:
            Relay.from_url(url)
        except ValueError as error:
            raise Stopped(f"RELAY_URL cannot be used: {error}") from error


def _run(
    config: Config,
    http: socket.socket,
    engine: Engine,
    *,
    target: Target | None,
    announce: Callable[[], Awaitable[None]],
) -> None:
    from postroom.commands.running import Plan, run

    run(Plan(config=config, http=http, engine=engine, target=target, announce=announce))


def _say_ready(config: Config) -> None:
    print(f"Ready {config.base_url}", flush=True)


def _found_first_workspace(config: Config) -> None:
    """Ask for the first workspace, or say how to make it."""
    from postroom.commands import opening
    from postroom.workspaces.models import Workspace

    if Workspace.objects.exists():
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(opening.no_workspace(), file=sys.stderr)
        return
    from postroom.commands.asking import ask_for_workspace

    ask_for_workspace()
