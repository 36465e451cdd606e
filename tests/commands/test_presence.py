"""The beats of a process: what its log says of a database that goes away and comes back."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.db import OperationalError

from postroom.commands.presence import Beats
from postroom.workspaces import stations


class Flickering(Beats):
    """One whose database is away at the second and third beat."""

    count = 0

    def beat(self) -> None:
        self.count += 1
        if self.count in (2, 3):
            raise OperationalError("connection failed")


def test_a_database_that_comes_back_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stations, "BEAT_SECONDS", 0.001)
    beats = Flickering("worker", None)

    async def story() -> None:
        beating = asyncio.create_task(beats.go_on())
        while beats.count < 6:
            await asyncio.sleep(0.001)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

    with caplog.at_level(logging.INFO, "postroom.running"):
        asyncio.run(story())
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "The database does not answer (connection failed); all goes on once it does.",
        "The database answers again.",
    ]
