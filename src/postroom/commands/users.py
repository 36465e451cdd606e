"""`postroom user …`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.workspaces.models import Member

app = typer.Typer(help="The people who log in.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class LinkShape:
    """A link that lets its holder set the password of this login."""

    address: str
    link: str


@app.command("list", epilog="Example: postroom user list --json")
def list_users(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List the members of a workspace."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows.showing import shape_of_member
    from postroom.workspaces.models import Member

    members = Member.objects.filter(workspace=workspace_of(workspace)).select_related("user", "contact")
    shapes = [shape_of_member(member) for member in members.order_by("pk")]
    print_list(shapes, ("address", "name", "role", "channel", "is_active"), as_json=as_json)


@app.command("invite", epilog="Example: postroom user invite ben@casa.example --name Ben --role member")
def invite(
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    *,
    name: Annotated[str, typer.Option(help="The person's name.")] = "",
    role: Annotated[str, typer.Option(help="operator, admin or member.")] = "member",
    language: Annotated[str, typer.Option(help="en, ro or es.")] = "en",
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Let a person in: prints the link with which they set their password. Works without mail."""
    from postroom.commands.opening import check_language, member_acting, open_installation, workspace_of

    check_language(language)
    open_installation()
    from postroom.flows import founding

    by = member_acting(workspace_of(workspace))
    member, link = founding.invite(by, address=address, name=name, role=role, language=language)
    print_one(LinkShape(member.user.email, link), link, as_json=as_json)


@app.command("reset-link", epilog="Example: postroom user reset-link ana@casa.example")
def reset_link(address: Annotated[str, typer.Argument(metavar="ADDRESS")], as_json: AsJson = False) -> None:
    """Print a link with which a person who lost the password sets a new one. Works without mail."""
    from postroom.commands.opening import open_installation

    open_installation()
    from postroom.flows import founding

    link = founding.reset_link(_member_with(address), is_asked_by_operator=True)
    print_one(LinkShape(address, link), link, as_json=as_json)


def _member_with(address: str) -> Member:
    from postroom.commands.failures import Stopped
    from postroom.wire.address import normalise
    from postroom.workspaces.models import Member

    member = Member.objects.filter(user__email__iexact=normalise(address)).select_related("user").first()
    if member is None:
        raise Stopped(f"Nobody logs in with {address}. See `postroom user list`.")
    return member
