"""`postroom web`, `postroom smtp` and `postroom worker`: the parts of `postroom up`, each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands import serve
from postroom.commands.failures import Stopped

if TYPE_CHECKING:
    from postroom_server.config import Config

WEB, SMTP, WORKER = "web", "smtp", "worker"


def web() -> None:
    """Serve the pages and the API, and nothing else. Ctrl-C stops it.

    It needs PostgreSQL, and a `postroom worker` somewhere that sends what is written here.
    """
    config = _load(WEB)
    http = serve.take_endpoints(config, "POSTROOM_HTTP")
    config = serve.make_ready()
    serve.say_no_workspace()
    serve.run(config, WEB, f"Ready {config.base_url}: pages and API", http=http)


def smtp() -> None:
    """Take mail in, and nothing else. Ctrl-C stops it.

    It needs PostgreSQL, and a `postroom worker` somewhere that posts what comes in.
    """
    from postroom.commands import endpoints

    config = _load(SMTP)
    endpoints.find(config, "POSTROOM_SMTP")
    config = serve.make_ready()
    serve.say_no_workspace()
    serve.run(config, SMTP, f"Ready smtp://{config['POSTROOM_SMTP']}: incoming mail")


def worker(
    has_http: Annotated[
        bool, typer.Option("--http", help="Answer /livez, /readyz and /metrics at POSTROOM_HTTP.")
    ] = False,
) -> None:
    """Run the engine, and nothing else: send mail, post what came in, run scheduled actions. Ctrl-C stops it.

    It needs PostgreSQL. Any number may run, on any number of machines: they share what is due.
    """
    config = _load(WORKER)
    http = serve.take_endpoints(config, "POSTROOM_HTTP") if has_http else None
    engine = serve.engine_of(config)
    config = serve.make_ready(engine)
    serve.say_no_workspace()
    probes = f", probes at http://{config['POSTROOM_HTTP']}" if has_http else ""
    serve.run(
        config, WORKER, f"Ready worker: sends mail and runs what is due{probes}", http=http, engine=engine
    )


def _load(role: str) -> Config:
    """The configuration, if it is one that lets parts run alone. Raises Stopped with the way there."""
    from postroom_server import folder

    config = serve.load()
    if not config.has_postgres:
        raise Stopped(
            f"`postroom {role}` needs PostgreSQL: on SQLite one process does everything, which is "
            "`postroom up`. To run the parts apart, move with `postroom migrate-store` and set "
            "DATABASE_URL=postgresql://user:password@host/name."
        )
    folder.prepare(config)
    return config
