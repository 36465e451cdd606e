"""An installation and what it becomes elsewhere: commands as processes, and both sides compared."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.journeys.storm import POSTROOM, Machine, Tables

CLERK = [*POSTROOM[:1], "-m", "tests.journeys.installation_clerk"]
#: Which installation it is, and what only says what runs now.
OWN = {"postroom_installation", "postroom_station", "django_migrations"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with --json."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def postroom(machine: Machine, *arguments: str, **settings: str) -> Ran:
    """Run a command to its end; that it fails is for the caller to judge."""
    env = {**machine.env, **settings}
    ran = subprocess.run([*POSTROOM, *arguments], env=env, capture_output=True, text=True, timeout=120)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def clerk(machine: Machine, *arguments: str) -> Any:
    """Let `installation_clerk` do or look up something with the product's own code."""
    ran = subprocess.run([*CLERK, *arguments], env=machine.env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def tables_of(machine: Machine) -> Tables:
    """Its tables, read without the product."""
    return Tables(machine.env.get("DATABASE_URL") or str(machine.folder / "postroom.sqlite3"))


def counts(tables: Tables) -> dict[str, int]:
    """How many rows each table has, but those of `OWN`."""
    if tables.url.startswith("postgres"):
        names = tables.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    else:
        names = tables.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
    return {name: tables.number(f'SELECT COUNT(*) FROM "{name}"') for (name,) in names if name not in OWN}


def held(folder: Path) -> set[str]:
    """The names of what lies in a folder."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()
