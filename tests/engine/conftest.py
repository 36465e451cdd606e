"""The engines that tests are made with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from postroom.engine.embedded import Engine
from tests.engine.shapes import alone, in_fleet


@pytest.fixture(params=[alone, in_fleet])
def make(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Each shape of the engine in turn."""
    if request.param is in_fleet:
        request.getfixturevalue("fleet")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def fleet(django_db_setup: None) -> Callable[..., Engine]:
    """Engines of a fleet, which needs PostgreSQL."""
    if connection.vendor != "postgresql":
        pytest.skip("engines know each other only on PostgreSQL: run with --postgres")
    return in_fleet
