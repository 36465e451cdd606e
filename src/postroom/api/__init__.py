"""REST /api/v1."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Building the routes needs Django's settings, which whoever imports this package may not have yet.
    if name in ("api", "urls"):
        from postroom.api import routes

        return routes.api if name == "api" else routes.urls()
    if name == "no_such_endpoint":
        from postroom.api.problems import no_such_endpoint

        return no_such_endpoint
    raise AttributeError(name)
