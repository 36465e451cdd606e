"""`postroom inbound …`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.flows.shapes import ReceivedShape

app = typer.Typer(help="Mail that comes in.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class ReplyShape:
    """What we answered to a mail: 250 means that it is ours now."""

    code: int
    enhanced: str | None
    text: str


@app.command("log", epilog="Example: postroom inbound log --state refused --json")
def log(
    state: Annotated[str, typer.Option(help="stored, posted, duplicate, bounce, refused or set_aside.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 50,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """List what came in and what was refused at the door, newest first."""
    from django.db.models import Q

    from postroom.commands.failures import wrong_use
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows.showing import shape_of_received
    from postroom.incoming.models import ReceivedEmail, ReceivedState

    if state and state not in ReceivedState.values:
        raise wrong_use(f"There is no state {state!r}. Choose one of {', '.join(ReceivedState.values)}.")
    # Whoever runs commands operates the installation and sees what was refused for no workspace, too.
    lines = ReceivedEmail.objects.filter(Q(workspace=workspace_of(workspace)) | Q(workspace=None))
    lines = lines.filter(state=state) if state else lines
    shapes = [shape_of_received(line) for line in lines.select_related("record").order_by("-pk")[:limit]]
    columns = ("received_at", "reverse_path", "forward_path", "subject", "what")
    print_list(shapes, columns, as_json=as_json, words=_ending)


def _ending(line: ReceivedShape) -> str:
    """What became of a mail: the record it is on, or the reply that refused it."""
    code, text = str(line.reply_code or ""), line.reply_text or ""
    replied = text if text.startswith(code) else f"{code} {text}".strip()
    return f"{line.state}: {line.record or replied}" if line.record or replied else line.state


@app.command("repost", epilog="Example: postroom inbound repost in_17")
def repost(
    received: Annotated[str, typer.Argument(metavar="ID", help="As `postroom inbound log` prints it.")],
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Have a mail that was set aside posted after all; the server does it within its next tick."""
    from postroom.commands.failures import Stopped, wrong_use
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows.filing import repost as try_again
    from postroom.flows.showing import shape_of_received
    from postroom.incoming.models import ReceivedEmail

    number = received.removeprefix("in_")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise wrong_use(f"{received!r} is no ID of the incoming log, like in_17.")
    row = ReceivedEmail.objects.filter(workspace=workspace_of(workspace), pk=int(number)).first()
    if row is None or not try_again(row):
        raise Stopped(f"{received} is not set aside. See postroom inbound log --state set_aside --json.")
    row.refresh_from_db()
    print_one(shape_of_received(row), f"in_{row.pk} is posted soon.", as_json=as_json)


@app.command("feed", epilog="Example: postroom inbound feed letter.eml --to support@main.postroom.localhost")
def feed(
    letter: Annotated[Path, typer.Argument(metavar="FILE.eml")],
    to: Annotated[list[str], typer.Option(metavar="ADDRESS", help="The forward-path; several times.")],
    reverse_path: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The reverse-path.")] = "",
    as_json: AsJson = False,
) -> None:
    """Hand a mail in as if it had come by SMTP, and print what was answered."""
    from postroom.commands.failures import Stopped
    from postroom.commands.opening import open_installation

    octets = _with_crlf(letter.read_bytes())
    open_installation()
    from postroom.flows.receiving import Arrival, receive

    reply = receive(
        Arrival(
            source="feed",
            peer="127.0.0.1",
            helo="localhost",
            reverse_path=reverse_path,
            forward_paths=tuple(to),
            octets=octets,
        )
    )
    shape = ReplyShape(reply.code, str(reply.enhanced) if reply.enhanced else None, reply.text)
    said = f"{shape.code} {shape.enhanced or ''} {shape.text}"
    print_one(shape, said, as_json=as_json)
    if shape.code >= 400:
        raise Stopped("The mail was not taken.")


def _with_crlf(octets: bytes) -> bytes:
    """A file's line ends as they are on the wire."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
