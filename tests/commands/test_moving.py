"""What `postroom migrate-store` asks before it begins."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.engine.bells import FolderBell
from tests.commands.conftest import Postroom


def test_beside_a_running_postroom_it_says_to_stop_that_and_nothing_else(
    postroom: Postroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a second start is told (to move to PostgreSQL) is what is being done here."""
    monkeypatch.setenv("POSTROOM_DATA", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    running = FolderBell(tmp_path)
    running.claim()
    ran = postroom("migrate-store", "--to", "postgresql://postroom@127.0.0.1:9/postroom")
    assert ran.exit_code == 1
    assert ran.err == f"Postroom runs on the data folder {tmp_path}. Stop it first.\n"
    asyncio.run(running.close())
