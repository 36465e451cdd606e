"""What several journeys stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.storm import Target


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """A relay in a process of its own, at its usual pace."""
    target = Target(tmp_path / "taken")
    target.start()
    yield target
    target.stop()
