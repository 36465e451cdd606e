"""What runs in one process, on one loop: pages, incoming mail and engine, or one of them alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn

from postroom.commands.endpoints import cannot_listen
from postroom.commands.failures import Stopped
from postroom.commands.presence import present

if TYPE_CHECKING:
    from postroom.commands.unfounded import Application
    from postroom.engine.embedded import Engine
    from postroom.smtp.target import Target
    from postroom_server.config import Config

log = logging.getLogger("postroom.running")
ENGINE_GRACE_SECONDS = 4.0
WEB_GRACE_SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to run. `announce` is awaited once everything accepts connections.

    `role` is one of `Station.Role`. On `http` the pages are served, or, by a worker, the probes alone.
    """

    config: Config
    role: str
    http: socket.socket | None
    engine: Engine | None
    target: Target | None
    announce: Callable[[], Awaitable[None]]


class Web(uvicorn.Server):
    """Uvicorn inside our own loop; the signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def run(plan: Plan) -> None:
    """Run until Ctrl-C or SIGTERM. Raises Stopped if something cannot start."""
    from postroom.diagnostics import telemetry

    telemetry.start()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(plan))
    finally:
        telemetry.stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(plan: Plan) -> None:
    """Start from the inside to the outside, stop from the outside to the inside."""
    stop = _stop_on_signals()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_target(plan))
        await stack.enter_async_context(present(plan.role, plan.engine, plan.config))
        ends = [asyncio.ensure_future(stop.wait())]
        if plan.engine is not None:
            await stack.enter_async_context(_engine(plan.engine))
        if plan.role in ("up", "smtp"):
            await stack.enter_async_context(receiving_mail(plan.config))
        if plan.http is not None:
            ends.append(await stack.enter_async_context(_web(plan, plan.http)))
        await plan.announce()
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        raise Stopped("The pages stopped by themselves; the log says why.")


def _stop_on_signals() -> asyncio.Event:
    """An event that the first Ctrl-C or SIGTERM sets; the second one ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def begin(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, begin, number)
    return stop


@contextlib.asynccontextmanager
async def _target(plan: Plan) -> AsyncIterator[None]:
    if plan.target is None:
        yield
        return
    async with listening(plan.target, plan.config, "POSTROOM_TARGET"):
        yield


@contextlib.asynccontextmanager
async def _engine(engine: Engine) -> AsyncIterator[None]:
    from postroom.flows import sending

    await asyncio.to_thread(sending.recover)
    await engine.start()
    try:
        yield
    finally:
        await engine.stop(ENGINE_GRACE_SECONDS)


@contextlib.asynccontextmanager
async def receiving_mail(config: Config) -> AsyncIterator[None]:
    """Let mail in for as long as the block lasts; afterwards what is being decided has been decided.

    Raises Stopped if the port of POSTROOM_SMTP cannot be had.
    """
    from postroom.flows.receiving import FrontDoor
    from postroom.smtp.listener import Listener

    door = FrontDoor()
    try:
        async with listening(Listener(door, config["POSTROOM_MAIL_DOMAIN"]), config, "POSTROOM_SMTP"):
            yield
    finally:
        await asyncio.to_thread(door.close)


@contextlib.asynccontextmanager
async def listening(listener: Any, config: Config, name: str) -> AsyncIterator[None]:
    """Let something listen at the host:port of a setting for as long as the block lasts."""
    host, port = config.endpoint(name)
    try:
        await listener.start(host, port)
    except OSError as error:
        raise cannot_listen(name, host, port, error) from error
    try:
        yield
    finally:
        await listener.stop()


@contextlib.asynccontextmanager
async def _web(plan: Plan, http: socket.socket) -> AsyncIterator[asyncio.Task[Any]]:
    """Serve on the socket that was bound before anything else."""
    # Files are read in a thread, which is what this warns of; ours are small.
    warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
    server = Web(
        uvicorn.Config(
            _application(plan.role),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=WEB_GRACE_SECONDS,
        )
    )
    serving: asyncio.Task[Any] = asyncio.create_task(server.serve(sockets=[http]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if serving.done():  # never started: nobody may be told that it is ready
            await serving
            raise Stopped("The pages could not be started; the log says why.")
        yield serving
    finally:
        server.should_exit = True
        await serving


def _application(role: str) -> Application:
    """The pages and the API; of a worker only the probes."""
    from postroom.commands.unfounded import only_probes, until_founded
    from postroom_server.asgi import application

    return only_probes(application) if role == "worker" else until_founded(application)
