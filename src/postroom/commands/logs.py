"""Where the log goes: stderr for people, and a file in the data folder. Addresses are shortened."""

from __future__ import annotations

import logging
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postroom.wire.characters import visible

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

# At most 64 octets before the "@", so that a long line without one costs no more than its length.
_ADDRESS = re.compile(r"([\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]{0,63}@([\w-]+(?:\.[\w-]+)*)")


def redact(text: str) -> str:
    """Shorten every address in a line: ana@example.com becomes a****@example.com."""
    return _ADDRESS.sub(r"\1****@\2", text)


def redact_event(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Shorten the addresses in all values of a log line, and let what strangers wrote begin no other one."""
    return {name: _fit(name, value) if isinstance(value, str) else value for name, value in event.items()}


def _fit(name: str, value: str) -> str:
    """Fit for a log: one line, or those of a traceback, with nothing that moves the cursor of a terminal."""
    lines = value.split("\n") if name == "exception" else [value]
    return "\n".join(visible(redact(line)) for line in lines)


def _indent_traceback(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A line that begins at the margin is a record of its own, whatever an exception says."""
    if isinstance(event.get("exception"), str):
        event["exception"] = textwrap.indent(event["exception"], "    ")
    return event


def write_logs(folder: Path, *, log_format: str) -> None:
    """Send the log to stderr and to `postroom.log` in `folder`; `log_format` is human or json."""
    import structlog

    folder.mkdir(parents=True, exist_ok=True)
    shared = _shared()
    is_json = log_format == "json"
    to_people: Processor = (
        _as_json() if is_json else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    to_file: Processor = (
        _as_json() if is_json else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    root = logging.getLogger()
    root.handlers[:] = [
        _formatted(logging.StreamHandler(), to_people, shared),
        _formatted(logging.FileHandler(folder / "postroom.log", encoding="utf-8"), to_file, shared),
    ]
    root.setLevel(logging.INFO)
    for chatty in ("asyncio", "httpx", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("django.request").setLevel(logging.ERROR)  # what strangers ask for in vain is no news
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _shared() -> list[Processor]:
    import structlog

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_event,
    ]


def _as_json() -> Any:
    import structlog

    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _formatted(stream: logging.Handler, renderer: Processor, shared: list[Processor]) -> logging.Handler:
    import structlog

    stream.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_event,
                _indent_traceback,
                renderer,
            ],
        )
    )
    return stream
