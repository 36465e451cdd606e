"""What is said while the database does not answer: a plain sentence, and that nothing is lost."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.defaults import server_error

AWAY = (OperationalError, InterfaceError)
RETRY_SECONDS = 10


def went_wrong(request: HttpRequest) -> HttpResponse:
    """The answer to a request that an exception ended: 503 if the database was away, else 500."""
    return say_away() if isinstance(sys.exc_info()[1], AWAY) else server_error(request)


def say_away() -> HttpResponse:
    """The page for the time without a database; nothing in it asks the database."""
    page = HttpResponse(render_to_string("503.html"), status=503)
    page["Retry-After"] = str(RETRY_SECONDS)
    page["Cache-Control"] = "no-store"
    return page
