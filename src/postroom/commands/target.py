"""The built-in SMTP target: takes every mail, keeps it here, and misbehaves if the address asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.failures import Stopped
from postroom.commands.output import AsJson, print_list, print_one

if TYPE_CHECKING:
    from postroom.smtp.target import Target, TargetMail, TargetStore
    from postroom_server.config import Config

app = typer.Typer(
    help="The built-in SMTP target. Alone, `postroom target` starts it.",
    epilog="Example: postroom target",
)


@dataclass(frozen=True, slots=True)
class TargetMailShape:
    """A mail the target took; `raw` is the mail itself where one mail is shown, else None."""

    id: str
    received_at: datetime
    reverse_path: str
    forward_path: str
    helo: str
    size: int
    raw: str | None


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Start the built-in SMTP target alone; Ctrl-C stops it.

    Write to bounce-5.1.1@, greylist-2@, slow-30s@, drop-after-data@, full@, late-bounce@ or auto-reply@ any
    domain to see it misbehave.
    """
    if context.invoked_subcommand is None:
        from postroom_server import folder

        config = _load()
        folder.prepare(config)
        asyncio.run(_serve(config))


@app.command("list", epilog="Example: postroom target list --address ben@example.org --json")
def list_mails(
    address: Annotated[str, typer.Option(help="Only mail to this address.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what the target took."""
    mails = _store(_load()).list(limit, address or None)
    shapes = [_shape(mail) for mail in mails]
    print_list(shapes, ("id", "received_at", "reverse_path", "forward_path", "size"), as_json=as_json)


@app.command("show", epilog="Example: postroom target show 12")
def show(mail_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one mail that the target took, as it came over the wire."""
    mail = _store(_load()).get(mail_id)
    if mail is None:
        raise Stopped(f"The target has no mail {mail_id}. See `postroom target list`.")
    shape = _shape(mail, is_whole=True)
    print_one(shape, shape.raw or "", as_json=as_json)


def built_in_target(config: Config) -> Target:
    """The target over the folder `target` in the data folder; what it writes back goes to our own door."""
    from postroom.smtp.target import Target

    return Target(_store(config), deliver_back=_deliver_back(config))


def _deliver_back(config: Config) -> Callable[[str, bytes], Awaitable[None]]:
    from postroom.smtp.client import MailObject, Relay, transmit

    host, port = config.endpoint("POSTROOM_SMTP")
    door = Relay(host=host, port=port, helo="target.localhost")

    async def deliver(forward_path: str, octets: bytes) -> None:
        await transmit(MailObject(0, b"", forward_path.encode(), octets), door)

    return deliver


def _store(config: Config) -> TargetStore:
    from postroom.smtp.target import TargetStore

    return TargetStore(config.data / "target")


def _load() -> Config:
    from postroom_server import config as configuration

    return configuration.load()


def _shape(mail: TargetMail, *, is_whole: bool = False) -> TargetMailShape:
    raw = mail.octets.decode("utf-8", "replace") if is_whole else None
    return TargetMailShape(
        str(mail.id), mail.received_at, mail.reverse_path, mail.forward_path, mail.helo, len(mail.octets), raw
    )


async def _serve(config: Config) -> None:
    from postroom.commands.running import listening

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with listening(built_in_target(config), config, "POSTROOM_TARGET"):
        print(f"Ready smtp://{config['POSTROOM_TARGET']}", flush=True)
        await stop.wait()
