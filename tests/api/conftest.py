"""A client that holds a key of the cast's workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from postroom.flows.keys import make_key
from tests.people import Cast, cast

RECORD = "/records/sale.order/SO042"


@dataclass(frozen=True, slots=True)
class Program:
    """Something that calls the API with a key."""

    people: Cast
    key: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """Send a request; the body goes as JSON."""
        sent = {"Authorization": f"Bearer {self.key}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        kwargs: dict[str, Any] = {"content_type": "application/json"} if body is not None else {}
        return getattr(Client(), method)(f"/api/v1{path}", data=body, headers=sent, **kwargs)  # type: ignore[no-any-return]

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.ask("get", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.ask("post", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.ask("put", path, body, **headers)


def program_in(people: Cast) -> Program:
    """A program that acts as Ana."""
    return Program(people, make_key(people.ana, "shop", by=people.olga)[1])


@pytest.fixture
def program(db: None) -> Program:
    return program_in(cast())


@pytest.fixture
def neighbour(db: None, program: Program) -> Program:
    return program_in(cast("next"))
