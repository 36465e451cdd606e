"""`postroom key …`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

app = typer.Typer(help="API keys: let a program act as a member.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class NewKeyShape:
    """A key that was just made. It is shown this once."""

    id: str
    name: str
    key: str


@app.command("create", epilog="Example: postroom key create --name shop --as ana@casa.example")
def create(
    name: Annotated[str, typer.Option(help="What the program is called.")],
    member: Annotated[str, typer.Option("--as", metavar="ADDRESS", help="The member it acts as.")] = "",
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It cannot be shown again."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import keys

    here = workspace_of(workspace)
    key, text = keys.make_key(member_acting(here, member), name, by=member_acting(here))
    print_one(NewKeyShape(f"key_{key.pk}", key.name, text), text, as_json=as_json)


@app.command("list", epilog="Example: postroom key list --json")
def list_keys(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List the keys; what opens them is not kept."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows.showing import shape_of_key
    from postroom.workspaces.models import ApiKey

    keys = (
        ApiKey.objects.filter(workspace=workspace_of(workspace)).select_related("member__user").order_by("pk")
    )
    print_list(
        map(shape_of_key, keys),
        ("id", "name", "prefix", "member", "last_used_at", "revoked_at"),
        as_json=as_json,
    )


@app.command("revoke", epilog="Example: postroom key revoke key_3")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="An id such as key_3, or the key's prefix.")],
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Let a key open nothing any more."""
    from django.db.models import Q

    from postroom.commands.failures import Stopped
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import keys
    from postroom.flows.showing import number_in, shape_of_key
    from postroom.workspaces.models import ApiKey

    here = workspace_of(workspace)
    wanted = ApiKey.objects.filter(Q(prefix=key_id) | Q(pk=number_in(key_id, "key") or 0), workspace=here)
    key = wanted.select_related("member__user").first()
    if key is None:
        raise Stopped(f"There is no key {key_id}. See `postroom key list`.")
    keys.revoke_key(key, by=member_acting(here))
    key.refresh_from_db()
    print_one(shape_of_key(key), f"{key.name} ({key.prefix}…) opens nothing any more.", as_json=as_json)
