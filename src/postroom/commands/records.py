"""`postroom record …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.conversations.models import Record
    from postroom.workspaces.models import Workspace

app = typer.Typer(help="The business records that have a conversation.", no_args_is_help=True)


@app.command("list", epilog="Example: postroom record list --search SO042 --json")
def list_records(
    search: Annotated[str, typer.Option(help="Only those whose title or id has this in it.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 50,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """List records, those with the newest message first."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from django.db.models import Q

    from postroom.conversations.models import Record
    from postroom.flows.showing import records_to_show, shape_of_record

    records = Record.objects.filter(workspace=workspace_of(workspace)).order_by("-last_message_at", "-pk")
    if search:
        records = records.filter(Q(title__icontains=search) | Q(external_id__icontains=search))
    shapes = [shape_of_record(record) for record in records_to_show(records)[:limit]]
    print_list(shapes, ("model", "external_id", "title", "last_message_at"), as_json=as_json)


@app.command(
    "put",
    epilog='Example: postroom record put sale.order/SO042 --title "Order SO042" --follower ben@x.example',
)
def put(
    key: Annotated[str, typer.Argument(metavar="MODEL/ID")],
    *,
    title: Annotated[str, typer.Option(help="What people call it.")],
    url: Annotated[str, typer.Option(help="Where it lives in your application.")] = "",
    responsible: Annotated[str, typer.Option(metavar="ADDRESS", help="The member who is responsible.")] = "",
    follower: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="May be given several times.")
    ] = None,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Make a record or bring it up to date."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import recording
    from postroom.flows.showing import shape_of_record

    here = workspace_of(workspace)
    model, external_id = model_and_id(key)
    record, is_new = recording.put_record(
        here,
        model,
        external_id,
        title=title,
        url=url,
        responsible=member_acting(here, responsible) if responsible else None,
        followers=[recording.contact_for(here, address) for address in follower or ()],
        by=member_acting(here),
    )
    did = "made" if is_new else "brought up to date"
    print_one(shape_of_record(record), f"{record.key} was {did}.", as_json=as_json)


def model_and_id(key: str) -> tuple[str, str]:
    """Read MODEL/ID. Raises Stopped with the form that is wanted."""
    from postroom.commands.failures import wrong_use

    model, _, external_id = key.partition("/")
    if not model or not external_id:
        raise wrong_use(f"{key!r} names no record; write MODEL/ID, for example sale.order/SO042.")
    return model, external_id


def record_named(workspace: Workspace, key: str) -> Record:
    """The record MODEL/ID. Raises Stopped if there is none."""
    from postroom.commands.failures import Stopped
    from postroom.conversations.models import Record

    model, external_id = model_and_id(key)
    record = Record.objects.filter(workspace=workspace, model=model, external_id=external_id).first()
    if record is None:
        raise Stopped(
            f"There is no record {key} in {workspace}. Make it with `postroom record put {key} --title …`."
        )
    return record
