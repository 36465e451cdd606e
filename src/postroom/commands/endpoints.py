"""Takes the addresses the installation listens on, before anything else is begun."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from postroom.commands.failures import Stopped

if TYPE_CHECKING:
    from postroom_server.config import Config

BACKLOG = 2048  # uvicorn's own
_REASONS = {
    errno.EADDRINUSE: "is taken by another program",
    errno.EACCES: "may not be used by this user (ports below 1024 need more rights)",
    errno.EADDRNOTAVAIL: "is not an address of this machine",
}
_BESIDE = (
    "Whatever runs beside another Postroom on this machine, a part of it or a copy, "
    "needs a POSTROOM_HTTP and a POSTROOM_SMTP of its own."
)


def take(config: Config, name: str) -> socket.socket:
    """Listen on the host:port of a setting. Port 0 takes a free one, and the setting becomes what was taken.

    Binding alone does not take it: on Linux two that start together may both bind, and then one listens.
    Raises Stopped with the setting to change if the address cannot be had.
    """
    host, port = config.endpoint(name)
    taken = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise cannot_listen(name, host, port, error) from error
    os.environ[name] = (
        f"[{host}]:{taken.getsockname()[1]}" if ":" in host else f"{host}:{taken.getsockname()[1]}"
    )
    return taken


def find(config: Config, name: str) -> None:
    """Make sure that the address of a setting can be had, and turn port 0 into a free one."""
    take(config, name).close()


def cannot_listen(name: str, host: str, port: int, error: OSError) -> Stopped:
    """The sentence for an address that cannot be listened on."""
    reason = _REASONS.get(error.errno or 0, f"cannot be used ({error.strerror or error})")
    example = f"{name}={host}:{_another_port(port)}"
    sentence = f"{host}:{port} {reason}. Choose another with {name}, for example {example}."
    return Stopped(f"{sentence} {_BESIDE}" if error.errno == errno.EADDRINUSE else sentence)


def _another_port(port: int) -> int:
    """A port near this one that nothing of ours wants, neither by default nor as it is set now."""
    from postroom_server import config as configuration

    names = ("POSTROOM_HTTP", "POSTROOM_SMTP", "POSTROOM_TARGET")
    defaults = [setting.default for setting in configuration.SETTINGS if setting.name in names]
    ours = {text.rpartition(":")[2] for text in [*defaults, *(os.environ.get(name, "") for name in names)]}
    return next((other for other in range(port + 1, 65536) if str(other) not in ours), 0)
