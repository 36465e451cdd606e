"""`postroom message …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_one

if TYPE_CHECKING:
    from postroom.flows.drafting import File
    from postroom.flows.posting import Draft

app = typer.Typer(help="What is said on records.", no_args_is_help=True)


@app.command(
    "post",
    epilog='Example: postroom message post --record sale.order/SO042 --as ana@x.example --body "Shipped."',
)
def post(
    *,
    record: Annotated[str, typer.Option(metavar="MODEL/ID", help="Where it is said.")],
    body: Annotated[str, typer.Option(help="What is said; - reads it from standard input.")],
    author: Annotated[str, typer.Option("--as", metavar="ADDRESS", help="Who says it.")] = "",
    subject: Annotated[str, typer.Option(help="The subject of the mails.")] = "",
    html: Annotated[bool, typer.Option("--html", help="The body is HTML.")] = False,
    note: Annotated[bool, typer.Option("--note", help="An internal note: only members are told.")] = False,
    to: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="Also tell; several times.")] = None,
    attach: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Attach; several times.")] = None,
    bulk: Annotated[bool | None, typer.Option("--bulk/--urgent", help="With the bulk, or at once.")] = None,
    confirm_outsiders: Annotated[
        bool, typer.Option(help="Yes, the outsiders named may read this note.")
    ] = False,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Post a message on a record; its followers and the people named are told."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of
    from postroom.commands.records import record_named

    open_installation()
    from postroom.conversations.models import Message
    from postroom.flows import drafting
    from postroom.flows.showing import messages_to_show, shape_of_message

    here = workspace_of(workspace)
    text = sys.stdin.read() if body == "-" else body
    said = drafting.Said(
        subject=subject,
        html=text if html else "",
        text="" if html else text,
        is_note=note,
        to=tuple(to or ()),
        author=author,
        stream=None if bulk is None else ("bulk" if bulk else "urgent"),
        files=tuple(_file(path) for path in attach or ()),
        are_outsiders_confirmed=confirm_outsiders,
    )
    draft = drafting.draft(said, record_named(here, record), member_acting(here))
    message = messages_to_show(Message.objects.all()).get(pk=_posted(draft))
    shape = shape_of_message(message)
    print_one(shape, f"{shape.id} was posted; {shape.delivery.total} will be told by email.", as_json=as_json)


def _posted(draft: Draft) -> int:
    """Post it and return its number. Raises Stopped where outsiders have to be confirmed."""
    from postroom.commands.failures import Stopped
    from postroom.flows import posting

    try:
        return posting.post(draft).pk
    except posting.OutsidersNamed as named:
        who = ", ".join(str(contact) for contact in named.contacts)
        raise Stopped(
            f"{who} would read an internal note. Say --confirm-outsiders if that is meant."
        ) from named


def _file(path: Path) -> File:
    import mimetypes

    from postroom.flows.drafting import File

    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return File(path.name, kind, path.read_bytes())
