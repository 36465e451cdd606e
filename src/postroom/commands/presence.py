"""Lets the others know that this process is there, every ten seconds for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from django.db import InterfaceError, OperationalError, close_old_connections, connections

if TYPE_CHECKING:
    from postroom.engine.embedded import Engine
    from postroom_server.config import Config

log = logging.getLogger("postroom.running")


@contextlib.asynccontextmanager
async def present(role: str, engine: Engine | None, config: Config) -> AsyncIterator[None]:
    """Be a station of the installation for as long as the block lasts; leave with what was counted told."""
    from postroom_server import keys
    from postroom_server.settings import KEYS

    beats = Beats(role, engine)
    await asyncio.to_thread(beats.come)
    keys.note_start(config, KEYS)
    beating = asyncio.create_task(beats.go_on())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await asyncio.to_thread(beats.leave)


class Beats:
    """The beats of one process."""

    def __init__(self, role: str, engine: Engine | None) -> None:
        self.role = role
        self.engine = engine
        self.name = ""
        self.is_well = True

    def come(self) -> None:
        """The first beat: be a station. Raises DatabaseError."""
        from postroom.diagnostics import mail_log
        from postroom.diagnostics.log_lines import Own
        from postroom.workspaces import installation, stations

        self.name = stations.come(self.role, self.name, installation.instance()).name
        mail_log.said_now("station_started", ("station", Own(self.name)), ("role", Own(self.role)))
        self.beat()

    async def go_on(self) -> None:
        """Beat until it is cancelled; a database that does not answer now may answer at the next beat."""
        from postroom.workspaces.stations import BEAT_SECONDS

        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await asyncio.to_thread(self.beat)
            except (OperationalError, InterfaceError) as error:
                if self.is_well:
                    log.warning("The database does not answer (%s); all goes on once it does.", _said(error))
                self.is_well = False
            except Exception:  # whatever it is, it must not end the beats
                log.exception("Could not note that this process is alive")
            else:
                if not self.is_well:
                    log.info("The database answers again.")
                self.is_well = True

    def beat(self) -> None:
        """Note that this process is there, hand over what it counted, and see who else is there."""
        from postroom.diagnostics import meters
        from postroom.workspaces import installation, key_ring, stations

        key_ring.look_again()
        close_old_connections()  # a connection that the database has dropped is replaced
        if not stations.beat(self.name):
            stations.come(self.role, self.name, installation.instance())
        meters.flush()
        if self.engine is not None:
            installation.heartbeat()
            if stations.look_around():
                self.engine.look()  # what others did or left is ours, or the other way round

    def leave(self) -> None:
        """The last beat. Without a database the others find out by themselves."""
        from postroom.diagnostics import mail_log, meters
        from postroom.diagnostics.log_lines import Own
        from postroom.workspaces import stations

        mail_log.said_now("station_stopped", ("station", Own(self.name)), ("role", Own(self.role)))
        try:
            close_old_connections()
            meters.flush()
            stations.leave(self.name)
        except (OperationalError, InterfaceError) as error:
            log.warning("Could not say goodbye to the database (%s).", _said(error))
        finally:
            connections.close_all()


def _said(error: Exception) -> str:
    return " ".join(str(error).split())
