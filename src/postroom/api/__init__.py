"""REST /api/v1."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Building the routes needs Django's settings, which whoever imports this package may not have yet.
    if name == "api":
        from postroom.api.routes import api

        return api
    raise AttributeError(name)
