"""Runs coroutines on both event loops the product runs on; whatever a loop would only log fails the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


def run_on(new_loop: Callable[[], asyncio.AbstractEventLoop], coroutine: Coroutine[Any, Any, T]) -> T:
    complaints: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(15):
            return await coroutine

    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(watched())
    assert complaints == []
    return result


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, T]], T]:
    new_loop = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    return lambda coroutine: run_on(new_loop, coroutine)
