"""Spans for OpenTelemetry, where its usual variables ask for them and the extra `otel` is installed.

Otherwise nothing of it is imported, and a span costs one comparison.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger("postroom.telemetry")
Value = str | int | float | bool | tuple[int, ...]
Attributes = Mapping[str, Value | None]
P = ParamSpec("P")
T = TypeVar("T")
STOP_SECONDS = 2.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_tracer: Tracer | None = None
_provider: TracerProvider | None = None


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Do the variables of OpenTelemetry ask for traces over OTLP?"""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter == "otlp"
    return any(environ.get(name) for name in _ENDPOINTS)


def start() -> bool:
    """Begin to make spans if they are wanted; False if not, or if the extra is missing (the log says so)."""
    if not is_wanted():
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("Traces are asked for, but not installed: add the extra, as in `uv sync --extra otel`")
        return False
    start_with(BatchSpanProcessor(OTLPSpanExporter()))
    return True


def start_with(processor: SpanProcessor) -> None:
    """Begin to make spans, and give them to this processor."""
    global _provider, _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if is_named else {"service.name": "postroom"})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("postroom")


def stop() -> None:
    """Make no more spans and hand over those that wait; a collector that is silent is not waited for."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, name="telemetry", daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)


def span(name: str, describe: Callable[[], Attributes]) -> contextlib.AbstractContextManager[None]:
    """A span for as long as the block lasts. `describe` is asked only if spans are made; None is left out."""
    return contextlib.nullcontext() if _tracer is None else _spanning(_tracer, name, describe)


@contextlib.contextmanager
def _spanning(tracer: Tracer, name: str, describe: Callable[[], Attributes]) -> Iterator[None]:
    with tracer.start_as_current_span(name, attributes=_given(describe())):
        yield


def traced(name: str, describe: Callable[[T], Attributes]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A span around each call of a function, described by what it returns."""

    def around(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if _tracer is None:
                return function(*args, **kwargs)
            with _tracer.start_as_current_span(name) as current:
                result = function(*args, **kwargs)
                current.set_attributes(_given(describe(result)))
                return result

        return call

    return around


def _given(attributes: Attributes) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}
