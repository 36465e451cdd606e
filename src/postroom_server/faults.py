"""The answer to a request that an exception ended: a page, or a problem of the API."""

from django.http import HttpRequest, HttpResponse

from postroom.api import problems
from postroom.web import away


def went_wrong(request: HttpRequest) -> HttpResponse:
    """503 if the database was away, else 500; nothing in the answer asks the database."""
    if request.path.startswith("/api/"):
        return problems.of_last_exception()
    return away.went_wrong(request)
