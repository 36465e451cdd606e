"""The API as a whole, under /api/v1."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import URLPattern, URLResolver
from ninja import NinjaAPI

from postroom.api import (
    actions,
    dkim,
    emails,
    inbound,
    problems,
    quota,
    records,
    scheduled,
    servers,
    settings,
)
from postroom.api.callers import BearerKey

api = NinjaAPI(
    title="Postroom",
    version="1",
    description="Records, their conversations, and what became of every mail. Errors are RFC 9457 problems.",
    urls_namespace="postroom-api",
    auth=BearerKey(),
    docs_url=None,
    openapi_url="/openapi.json",
)
api.add_router("/records", records.router)
api.add_router("/inbound", inbound.router)
api.add_router("/servers", servers.router)
api.add_router("/domains", dkim.router)
api.add_router("/actions", actions.router)
api.add_router("", emails.router)
api.add_router("", quota.router)
api.add_router("", scheduled.router)
api.add_router("", settings.router)
problems.say_problems(api)


def urls() -> tuple[list[URLPattern | URLResolver], str, str]:
    """The addresses of the API, for Django's `path`; what Django itself refuses there is a problem, too."""
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            pattern.callback = problems.in_problems(pattern.callback)
    return patterns, app_name, namespace


@api.get(
    "/problems/{code}",
    auth=None,
    response={200: dict[str, str | int], 404: problems.ProblemShape},
    tags=["problems"],
)
def explain_problem(request: HttpRequest, code: str) -> dict[str, str | int]:
    """What a problem's `code` means and what to do."""
    known = problems.KNOWN.get(code)
    if known is None:
        raise problems.Problem("not_found", "There is no problem with this code.")
    return {"code": code, "status": known.status, "title": known.title, "what_to_do": known.remedy}
