"""Errors as RFC 9457 problems: a stable `code`, a sentence, and where the remedy is described."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core import exceptions
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from postroom.flows.acting import ActionRuns
from postroom.flows.posting import OutsidersNamed
from postroom.wire.address import AddressError
from postroom.workspaces.refusals import RequestRefused

log = logging.getLogger("postroom.api")
View = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class ProblemShape:
    """RFC 9457; `code` is stable, `docs_url` says what to do, `errors` names the fields that are meant."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    docs_url: str
    errors: list[dict[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A problem that can occur: its HTTP status, its title and the remedy."""

    status: int
    title: str
    remedy: str


KNOWN: Mapping[str, Known] = {
    "key_missing_or_unknown": Known(
        401,
        "No valid API key",
        "Send `Authorization: Bearer <key>`. Keys are made in Settings or with `postroom key create`; a key "
        "that was revoked, or whose member may no longer log in, opens nothing.",
    ),
    "not_found": Known(
        404,
        "Not found",
        "There is nothing with this id in the workspace of the key. Ids are not shared between workspaces. "
        "What a key has no right to is not found either; `detail` then names the role that it takes.",
    ),
    "malformed": Known(
        422,
        "The request cannot be read",
        "Correct the fields named in `errors`; /api/v1/openapi.json has the shapes.",
    ),
    "address_malformed": Known(422, "Not an address", "Give one bare address, such as ana@example.com."),
    "refused": Known(
        422, "The request cannot be done", "`detail` says why and what to do instead. Nothing was changed."
    ),
    "outsiders_named": Known(
        422,
        "Outsiders would read an internal note",
        "`errors` names them. Leave them out, or repeat the request with `confirm_outsiders: true`.",
    ),
    "no_such_endpoint": Known(
        404, "No such endpoint", "/api/v1/openapi.json lists every endpoint with its method and shape."
    ),
    "method_not_allowed": Known(
        405,
        "This method is not allowed here",
        "The `Allow` header lists the methods; /api/v1/openapi.json has every endpoint with its own.",
    ),
    "cursor_malformed": Known(422, "Not a cursor", "Pass `next_cursor` of the page before, unchanged."),
    "idempotency_key_malformed": Known(
        422,
        "Not an Idempotency-Key",
        "Send 1 to 256 visible ASCII characters, a new value for every new request.",
    ),
    "idempotency_key_reused": Known(
        409,
        "This Idempotency-Key belongs to another request",
        "Within 24 hours a key may only repeat the very same request. Use a new one.",
    ),
    "request_in_progress": Known(
        409,
        "The same request is being worked on",
        "Wait for the seconds in `Retry-After` and repeat it with the same Idempotency-Key.",
    ),
    "not_in_this_state": Known(
        409,
        "The email is not in a state that allows this",
        "Retry works on Delivery Failed and Cancelled, Send Now and Cancel on Outgoing that is not in hand.",
    ),
    "action_running": Known(
        409,
        "The scheduled action is running",
        "Wait until its run has ended, mostly within seconds, and repeat the request. Nothing was changed.",
    ),
    "too_large": Known(
        413, "The request is too large", "Send at most 30 MB; attach less, or send several messages."
    ),
    "unavailable": Known(
        503,
        "Not now",
        "The database does not answer; Postroom goes on by itself once it does. Wait for the seconds in "
        "`Retry-After` and repeat the request with the same Idempotency-Key.",
    ),
    "internal": Known(
        500,
        "Something went wrong here",
        "The log has the details. Repeat the request with the same Idempotency-Key.",
    ),
}


class Problem(Exception):
    """The request ends with this problem."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.errors = errors
        self.retry_after = retry_after


def not_found() -> Problem:
    """What is said of anything that is not in the caller's workspace, whether it exists or not."""
    return Problem("not_found", "There is nothing with this id in this workspace.")


def only_for(role: str) -> Problem:
    """What is said of a resource that takes a key of another role, such as "an operator"."""
    return Problem("not_found", f"There is nothing here for this key: it takes one that acts as {role}.")


def no_such_endpoint(request: HttpRequest) -> HttpResponse:
    """What is said of an address below /api/v1 that leads nowhere."""
    detail = f"{request.method} {request.path} is not part of this API."
    if request.path.endswith("/"):
        detail += " Addresses have no slash at their end."
    elif "/records/" in request.path:
        detail += " The model and the id of a record contain no slash, not even as %2F."
    return answer(Problem("no_such_endpoint", detail))


def in_problems(view: View) -> View:
    """The view, answering in problems where it would answer a wrong method or address with a page."""

    @functools.wraps(view)
    def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return answer(Problem("malformed", "There is a NUL character in the address. Send it without."))
        try:
            response = view(request, *args, **kwargs)
        except Http404:
            return no_such_endpoint(request)
        if not isinstance(response, HttpResponseNotAllowed):
            return response
        allowed = response["Allow"]
        refused = answer(
            Problem("method_not_allowed", f"{request.path} knows {allowed}, not {request.method}.")
        )
        refused["Allow"] = allowed
        return refused

    return answering


def answer(problem: Problem) -> HttpResponse:
    """The problem as a response."""
    known = KNOWN[problem.code]
    url = f"{settings.POSTROOM_BASE_URL}/api/v1/problems/{problem.code}"
    body: dict[str, Any] = {
        "type": url,
        "title": known.title,
        "status": known.status,
        "code": problem.code,
        "detail": str(problem),
        "docs_url": url,
    }
    if problem.errors is not None:
        body["errors"] = problem.errors
    response = HttpResponse(
        json.dumps(body, ensure_ascii=False), status=known.status, content_type="application/problem+json"
    )
    if known.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="postroom"'
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
    return response


def problem_of(error: Exception) -> Problem:
    """The problem behind an exception; what is nobody's doing becomes `internal` and is logged."""
    match error:
        case Problem():
            return error
        case OutsidersNamed():
            named = [
                {"field": "to", "message": contact.addr_spec or str(contact)} for contact in error.contacts
            ]
            return Problem("outsiders_named", "Outsiders are named on an internal note.", errors=named)
        case ValidationError():
            return Problem(
                "malformed", "The request cannot be read.", errors=[_field_of(e) for e in error.errors]
            )
    for kind, code in _BY_KIND.items():
        if isinstance(error, kind):
            return Problem(code, str(error) or KNOWN[code].title)
    if isinstance(error, (OperationalError, InterfaceError)):
        log.warning("A request found no database: %s", " ".join(str(error).split()))
        return Problem(
            "unavailable", "The database does not answer now. Repeat this in 10 seconds.", retry_after=10
        )
    log.error("A request failed", exc_info=error)
    return Problem("internal", "The request was not done. The log of the server says why.")


_BY_KIND: Mapping[type[Exception], str] = {
    AuthenticationError: "key_missing_or_unknown",
    HttpError: "malformed",
    Http404: "not_found",
    AddressError: "address_malformed",
    ActionRuns: "action_running",
    RequestRefused: "refused",
    exceptions.RequestDataTooBig: "too_large",
}


def _field_of(error: Mapping[str, Any]) -> dict[str, str]:
    where = [str(part) for part in error.get("loc", ()) if part not in ("body", "payload", "query", "path")]
    return {"field": ".".join(where), "message": str(error.get("msg", ""))}


def of_last_exception() -> HttpResponse:
    """The problem behind the exception that ended a request before it came to an endpoint."""
    error = sys.exc_info()[1]
    return answer(problem_of(error if isinstance(error, Exception) else RuntimeError("no exception")))


def say_problems(api: NinjaAPI) -> None:
    """Let every error of the API end in a problem."""

    def on_error(request: HttpRequest, error: Exception | type[Exception]) -> HttpResponse:
        return answer(problem_of(error if isinstance(error, Exception) else error()))

    for kind in (Exception, Problem, Http404, HttpError, AuthenticationError, ValidationError):
        api.add_exception_handler(kind, on_error)
