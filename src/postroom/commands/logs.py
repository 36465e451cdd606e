"""Where the log goes: stderr for people, and the files of the data folder. Addresses are shortened."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postroom.wire.characters import visible

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

    from postroom.diagnostics.mail_log import Log
    from postroom_server.config import Config

FOLDER = "logs"


def write_logs(config: Config) -> None:
    """Send the log of a process that lasts to stderr and to `postroom.log` in the folder `logs`."""
    import structlog

    to = _open(config, tidies=True)
    shared = _shared(to)
    is_json = config["POSTROOM_LOG_FORMAT"] == "json"
    to_people: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if is_json
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    into_file = Into(to)
    into_file.setFormatter(_formatter(lambda _logger, _method, event: _line(to, event), shared))
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(_formatter(to_people, shared))
    root = logging.getLogger()
    root.handlers[:] = [to_stderr, into_file]
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


def note_actions(config: Config) -> None:
    """Let a command that is over soon write its actions into the log, too, and nothing to stderr."""
    _open(config, tidies=False)


def _open(config: Config, *, tidies: bool) -> Log:
    from postroom.diagnostics import mail_log

    return mail_log.open_log(
        Path(config.data) / FOLDER,
        log_format=config["POSTROOM_LOG_FORMAT"],
        shows_addresses=config["POSTROOM_LOG_ADDRESSES"] == "full",
        days=int(config["POSTROOM_LOG_DAYS"]),
        tidies=tidies,
    )


class Into(logging.Handler):
    """Writes what Python's `logging` is told into our file, unless that has a line of it already."""

    def __init__(self, to: Log) -> None:
        super().__init__()
        self.to = to

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what goes wrong with that is `logging`'s to tell."""
        if getattr(record, "has_line", False):
            return
        try:
            self.to.file.write(self.format(record))
        except Exception:  # as every one of `logging` does: no caller fails by its log
            self.handleError(record)


def _line(to: Log, event: EventDict) -> str:
    """A record as a line of the file; the lines of a traceback follow it."""
    at = datetime.fromisoformat(event["timestamp"]).astimezone(UTC)
    said = str(event["event"])
    if isinstance(event.get("exception"), str):
        said = f"{said}\n{event['exception']}"
    return to.dialect.free(at, str(event["level"]).upper(), str(event["logger"]), said)


def _shared(to: Log) -> list[Processor]:
    import structlog

    def cover(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {
            name: _fit(to, name, value) if isinstance(value, str) else value for name, value in event.items()
        }

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        cover,
    ]


def _fit(to: Log, name: str, value: str) -> str:
    """Fit for a log: one line, or those of a traceback, with nothing that moves the cursor of a terminal."""
    if name in ("timestamp", "level", "logger"):
        return visible(value)
    cover, lines = to.cover(), value.split("\n") if name == "exception" else [value]
    margin = "    " if name == "exception" else ""  # at the margin a line is a record of its own
    return "\n".join(margin + cover.foreign(line, longest=None) for line in lines)


def _formatter(renderer: Any, shared: list[Processor]) -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
