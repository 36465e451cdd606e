"""May this process be given work: the database, its tables, an engine somewhere, and room on the disk."""

from __future__ import annotations

import contextlib
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import Error, connection, connections
from django.db.migrations.executor import MigrationExecutor

from postroom.outgoing import depth
from postroom.outgoing.waiting import waiting
from postroom.workspaces import installation, stations

LEAST_FREE_SHARE = 0.01
LEAST_FREE_OCTETS = 100 * 1024 * 1024
LONGEST_LOOK_SECONDS = 4.0

_are_migrated = False
_asking: _Asking | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was found. `checks` decide; `figures` only tell.

    Without a database nothing else is known of what it holds: those checks are False then, too.
    """

    checks: dict[str, bool]
    figures: dict[str, float | int | None] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """May work be given?"""
        return all(self.checks.values())


def look() -> Readiness:
    """Look at everything now; raises nothing, and takes four seconds at most: a database may hang."""
    free_octets = _free_octets()
    checks = {"database": False, "migrations": False, "engine": False, "disk": _is_enough(free_octets)}
    figures: dict[str, float | int | None] = {
        "free_octets": free_octets,
        "oldest_due_seconds": None,
        "is_capturing": None,
    }
    found = _ask_database()
    return Readiness({**checks, **found.checks}, {**figures, **found.figures})


def _ask_database() -> Readiness:
    """What it says in time; nothing while it still owes an answer to an earlier question."""
    global _asking
    if _asking is not None and _asking.is_alive():
        return Readiness({})
    _asking = asking = _Asking()
    asking.start()
    asking.join(LONGEST_LOOK_SECONDS)
    return Readiness({}) if asking.is_alive() else asking.found


class _Asking(threading.Thread):
    """One question to the database, on a connection of its own.

    Nobody can interrupt a thread that waits for a server which is there and does not answer.
    """

    def __init__(self) -> None:
        super().__init__(name="readyz", daemon=True)
        self.found = Readiness({})

    def run(self) -> None:
        """Ask; `found` stays empty as far as the database does not answer."""
        checks, figures = dict[str, bool](), dict[str, float | int | None]()
        try:
            with contextlib.suppress(Error):  # the answer says so
                checks["migrations"] = _are_migrations_done()
                checks["database"] = True
                if checks["migrations"]:
                    checks["engine"] = stations.is_any_draining()
                    figures["oldest_due_seconds"] = _oldest_due_seconds()
                    figures["is_capturing"] = installation.is_anything_captured()
        finally:
            connections.close_all()
        self.found = Readiness(checks, figures)


def _are_migrations_done() -> bool:
    """Once they are, they stay so for as long as this process runs: only the answer yes is kept."""
    global _are_migrated
    if not _are_migrated:
        executor = MigrationExecutor(connection)
        _are_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    else:
        connection.ensure_connection()
    return _are_migrated


def _oldest_due_seconds() -> float:
    now, lanes = waiting()
    return round(max(depth.oldest_due_seconds(lanes, now).values()), 1)


def _free_octets() -> int | None:
    """None where it cannot be told."""
    try:
        return shutil.disk_usage(Path(settings.POSTROOM_DATA)).free
    except OSError:
        return None


def _is_enough(free_octets: int | None) -> bool:
    """Below a hundredth of the disk, or 100 MB, mail that comes in may not find room any more."""
    if free_octets is None:
        return False
    total = shutil.disk_usage(Path(settings.POSTROOM_DATA)).total
    return free_octets >= max(LEAST_FREE_OCTETS, total * LEAST_FREE_SHARE)
