"""`Idempotency-Key` on requests that post."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from pydantic import TypeAdapter

from postroom.api.callers import key_of
from postroom.api.problems import Problem
from postroom.flows.repeating import Answer, OtherRequest, StillRunning, answer_once, digest_of

HEADER = "Idempotency-Key"
RETRY_AFTER_SECONDS = 2


def once(request: HttpRequest, status: int, shape: type, act: Callable[[], Any]) -> HttpResponse:
    """Do `act` and answer with its shape; under the same Idempotency-Key do it only once.

    A repetition gets the very same answer, with `Idempotent-Replayed: true`.
    """

    def answered() -> Answer:
        return Answer(status, TypeAdapter(shape).dump_json(act()).decode())

    key = request.headers.get(HEADER)
    answer = answered() if key is None else _once(request, key, answered)
    response = HttpResponse(answer.body, status=answer.status, content_type="application/json; charset=utf-8")
    if answer.is_repeated:
        response["Idempotent-Replayed"] = "true"
    return response


def _once(request: HttpRequest, key: str, answered: Callable[[], Answer]) -> Answer:
    if not 1 <= len(key) <= 256 or not (key.isascii() and key.isprintable()):
        raise Problem("idempotency_key_malformed", "The Idempotency-Key cannot be used.")
    asked = f"{request.method} {request.get_full_path()} {request.content_type}"
    secret = request.headers.get("Authorization", "").partition(" ")[2].strip()
    digest = digest_of(secret.encode(), asked.encode(), request.body)
    try:
        return answer_once(key_of(request), key, digest, answered)
    except OtherRequest as error:
        raise Problem(
            "idempotency_key_reused", "This key was used for a request with another content."
        ) from error
    except StillRunning as error:
        detail = "The same request is being done at this moment."
        raise Problem("request_in_progress", detail, retry_after=RETRY_AFTER_SECONDS) from error
