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

    from postroom.engine.bells import Bell
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
    config = load()
    engine = engine_of(config)
    http = take_endpoints(config, "POSTROOM_HTTP", "POSTROOM_SMTP", "POSTROOM_TARGET")
    os.environ["RELAY_URL"] = f"smtp://{os.environ['POSTROOM_TARGET']}"
    os.environ.setdefault("POSTROOM_PRIVATE_NETWORKS", "127.0.0.0/8, ::1")  # all of it is on this machine
    os.environ["POSTROOM_OPEN_INTERNET"] = "no"  # nothing leaves it, over whichever server
    _tell_commands(config)
    config = make_ready(engine)

    from postroom.commands import demo_story
    from postroom.commands.target import built_in_target

    story = demo_story.tell_once(config.data)

    async def announce() -> None:
        await demo_story.wait_for_red_envelope(story)
        for line in demo_story.what_to_try(story, config):
            print(line)

    ready = f"Ready {config.base_url}"
    target = built_in_target(config)
    run(config, "up", ready, http=http, engine=engine, target=target, before_ready=announce)


def up() -> None:
    """Start everything: pages, API, incoming mail and the queue, in one process. Ctrl-C stops it.

    At the very first start it asks for the workspace, its administrator and a password if there is a
    terminal; otherwise make the workspace with `postroom workspace create`.
    """
    config = load()
    engine = engine_of(config)
    http = take_endpoints(config, "POSTROOM_HTTP", "POSTROOM_SMTP")
    config = make_ready(engine)
    _found_first_workspace()
    run(config, "up", f"Ready {config.base_url}", http=http, engine=engine)


def load() -> Config:
    """The configuration; what is doubtful about it is said on stderr. Raises ConfigError."""
    from postroom_server import config as configuration

    config = configuration.load()
    for warning in config.warnings:
        print(warning, file=sys.stderr)
    return config


def engine_of(config: Config) -> Engine:
    """An engine of the fleet on PostgreSQL; on SQLite the only one of the data folder, which it takes.

    Before the addresses are taken: a second start is told of the first, not of its ports. Raises EngineTaken.
    """
    from postroom.engine.embedded import Engine
    from postroom_server import folder

    engine = Engine(folder.prepare(config), (), bell=_fleet() if config.has_postgres else None)
    engine.claim()
    return engine


def _fleet() -> Bell:
    from postroom.engine.fleet import FleetBell

    return FleetBell()


def take_endpoints(config: Config, to_keep: str, *to_find: str) -> socket.socket:
    """Take the address of one setting and see that those of the others are free. Raises Stopped."""
    from postroom.commands import endpoints

    for name in to_find:
        endpoints.find(config, name)
    return endpoints.take(config, to_keep)


def make_ready(engine: Engine | None = None) -> Config:
    """Check the relay, bring the tables up to date, know the installation, tell the engine its lanes.

    A PostgreSQL that does not answer yet is waited for. Raises Stopped.
    """
    from postroom.commands import logs, opening

    config = opening.set_up_django()
    logs.write_logs(config)
    from postroom.flows import acting
    from postroom.flows.lanes import lane_kinds
    from postroom.workspaces import installation

    _check_relay(config["RELAY_URL"])
    if engine is not None:
        engine.kinds = tuple(lane_kinds())
    opening.await_database()
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


def run(
    config: Config,
    role: str,
    ready: str,
    *,
    http: socket.socket | None = None,
    engine: Engine | None = None,
    target: Target | None = None,
    before_ready: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run what a role has until it is stopped; say `ready` once all of it accepts connections."""
    from postroom.commands import running

    async def announce() -> None:
        if before_ready is not None:
            await before_ready()
        print(ready, flush=True)

    plan = running.Plan(config=config, role=role, http=http, engine=engine, target=target, announce=announce)
    running.run(plan)


def say_no_workspace() -> bool:
    """Say how to make the first workspace, if there is none yet; True if so."""
    from postroom.commands import opening
    from postroom.workspaces.models import Workspace

    if Workspace.objects.exists():
        return False
    print(opening.no_workspace(), file=sys.stderr)
    return True


def _found_first_workspace() -> None:
    """Ask for the first workspace, or say how to make it."""
    from postroom.workspaces.models import Workspace

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say_no_workspace()
        return
    from postroom.commands.asking import ask_for_workspace

    if not Workspace.objects.exists():
        ask_for_workspace()
