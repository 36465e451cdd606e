"""`postroom log …`."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroom.commands.output import AsJson, print_words

if TYPE_CHECKING:
    from datetime import datetime

    from postroom.diagnostics.log_search import Found, Looked
    from postroom_server.config import Config

app = typer.Typer(help="The log of this installation.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class LogLineShape:
    """A line of the log. `event` is empty for what a part of the program said in words.

    `at` is None where the line tells no time. `fields` are all others by name; `line` is the whole of it, as
    it stands in `file`.
    """

    at: str | None
    level: str
    event: str
    fields: dict[str, Any]
    line: str
    file: str


@app.command("search", epilog="Example: postroom log search --address ben@example.org --since 2d")
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What a line must hold, in any case.")] = "",
    *,
    message_id: Annotated[str, typer.Option(metavar="ID", help="A Message-ID.")] = "",
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="An email address, shortened in the log or not.")
    ] = "",
    email: Annotated[str, typer.Option(metavar="ID", help="An email, as em_123 or 123.")] = "",
    since: Annotated[str, typer.Option(metavar="WHEN", help="2d, 3h, or a time; no zone means UTC.")] = "",
    until: Annotated[str, typer.Option(metavar="WHEN", help="Before this; as --since.")] = "",
    workspace: Annotated[str, typer.Option(metavar="SLUG", help="Only lines about this workspace.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="The newest so many; 0: all of them.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Find lines in the log of now and of earlier days, oldest first. Exits 1 if there is none.

    It says on stderr where it looked, and what it could not read.
    """
    from postroom.commands.logs import FOLDER

    config = _with_keys()  # and no more: the log can be read where the database cannot
    from postroom.diagnostics import log_search, mail_log

    wanted = log_search.Wanted(
        text=text,
        message_id=message_id,
        address=_normalised(address),
        email_id=_number(email),
        workspace=workspace,
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
        keys=mail_log.tag_keys(),
    )
    looked = log_search.Looked()
    folder = config.data / FOLDER
    found: Iterable[Found] = log_search.search(folder, wanted, looked)
    found = deque(found, limit) if limit else found
    count = _print_json(found) if as_json else _print(found)
    _say_where(str(folder), looked, count, limit=limit)
    if not count and wanted.email_id is not None:
        _say_of_email(wanted.email_id)
    if not count:
        raise typer.Exit(1)


def _with_keys() -> Config:
    """Start Django, without which there are no keys. Raises Stopped where nothing was ever started."""
    from postroom.commands import opening
    from postroom_server import config as configuration
    from postroom_server import folder

    if folder.is_untouched(configuration.load()):
        raise opening.no_workspace()
    return opening.set_up_django()


def _print(found: Iterable[Found]) -> int:
    count = 0
    for each in found:
        print_words(each.text)
        count += 1
    return count


def _print_json(found: Iterable[Found]) -> int:
    """One object as every command prints, but written line by line."""
    count = 0
    sys.stdout.write('{"data": [')
    for count, each in enumerate(found, 1):
        sys.stdout.write("," if count > 1 else "")
        sys.stdout.write("\n  " + json.dumps(asdict(_shape(each)), ensure_ascii=False))
    sys.stdout.write("\n]}\n")
    return count


def _shape(found: Found) -> LogLineShape:
    from postroom.diagnostics import log_search

    fields = dict(found.fields)
    is_words = log_search.is_words(fields)
    level, event = str(fields.pop("level", "")).lower(), str(fields.pop("event", ""))
    fields.pop("timestamp", None)
    at = found.at.isoformat().replace("+00:00", "Z") if found.at else None
    return LogLineShape(at, level, "" if is_words else event, fields, found.text, found.file)


def _say_where(folder: str, looked: Looked, count: int, *, limit: int) -> None:
    files = ", ".join(looked.files) or "no file"
    print(f"Looked in {folder}: {files}.", file=sys.stderr)
    for name, reason in looked.unread:
        print(f"Could not read {name}: {reason}.", file=sys.stderr)
    if not count:
        words = "No line fits. Give less of it, or an earlier --since; addresses need --address."
        print(words, file=sys.stderr)
    if limit and count == limit:
        print(f"These are the newest {limit}; --limit 0 shows all.", file=sys.stderr)


def _say_of_email(number: int) -> None:
    """Lines with its number begin with its first try; before that, its message has one."""
    print(
        f"An email has lines from its first try on. `postroom explain em_{number}` says what it waits for, "
        "and `postroom log search --message-id` finds the line of its message.",
        file=sys.stderr,
    )


def _moment(text: str, option: str) -> datetime | None:
    from django.utils import timezone

    from postroom.commands.failures import wrong_use
    from postroom.diagnostics.log_search import moment

    if not text:
        return None
    try:
        return moment(text, timezone.now())
    except (ValueError, OverflowError) as error:
        raise wrong_use(f"{option} {text!r} is no time. Write 2d, 3h, or 2026-11-21T05:00.") from error


def _number(email: str) -> int | None:
    from postroom.commands.failures import wrong_use

    bare = email.strip().removeprefix("em_")
    if not bare:
        return None
    if not (bare.isascii() and bare.isdigit() and len(bare) < 19):
        raise wrong_use(f"{email!r} is no email; write em_123.")
    return int(bare)


def _normalised(address: str) -> str:
    """As it is in our tables, and so in the log; what is no address is looked for as it was written."""
    from postroom.wire.address import AddressError, normalise

    try:
        return normalise(address) if address.strip() else ""
    except AddressError:
        return address.strip()
