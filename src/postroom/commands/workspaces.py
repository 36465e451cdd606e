"""`postroom workspace …`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

app = typer.Typer(help="Workspaces: make one, list them, set name and time zone.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class FoundedShape:
    """A workspace that was just made; `password` is None if one was given."""

    slug: str
    name: str
    admin: str
    password: str | None
    login_url: str


@app.command(
    "create", epilog='Example: postroom workspace create --name "Casa Verde" --admin ana@casa.example'
)
def create(
    *,
    name: Annotated[str, typer.Option(help="What people call it.")],
    admin: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Who administers it; admin@example.com stands in.")
    ],
    slug: Annotated[
        str, typer.Option(help="The short name in addresses; made from the name if left out.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the password.")
    ] = None,
    language: Annotated[str, typer.Option(help="en, ro or es.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Make a workspace with its administrator. A password is made and shown if none is given."""
    from postroom.commands.asking import slug_of
    from postroom.commands.opening import check_language, open_installation

    check_language(language)
    password = _first_line(password_file) if password_file else None
    open_installation(is_new_welcome=True)
    from postroom.flows.founding import found_workspace

    founded = found_workspace(
        name=name, slug=slug or slug_of(name), admin_address=admin, password=password, language=language
    )
    workspace = founded.workspace
    shape = FoundedShape(workspace.slug, workspace.name, admin, founded.password, founded.login_url)
    login = f"Log in as {admin} at {founded.login_url}"
    secret = f"\nPassword: {founded.password}" if founded.password else ""
    print_one(shape, f"Workspace {workspace.slug} is ready. {login}{secret}", as_json=as_json)


@app.command("list", epilog="Example: postroom workspace list --json")
def list_workspaces(as_json: AsJson = False) -> None:
    """List the workspaces."""
    from postroom.commands.opening import open_installation

    open_installation()
    from postroom.flows.showing import shape_of_workspace
    from postroom.workspaces.models import Workspace

    shapes = [shape_of_workspace(workspace) for workspace in Workspace.objects.order_by("pk")]
    print_list(shapes, ("slug", "name", "mail_domains", "time_zone", "is_capturing"), as_json=as_json)


@app.command("set", epilog="Example: postroom workspace set --time-zone Europe/Bucharest")
def set_workspace(
    name: Annotated[str, typer.Option(help="What people call it from now on.")] = "",
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="By whose clock it lives: an IANA name.")
    ] = "",
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Change the name or the time zone of a workspace. Scheduled actions keep their hour in that zone."""
    from postroom.commands.failures import wrong_use
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    if not name.strip() and not time_zone.strip():
        raise wrong_use("Say what to change: --name or --time-zone.")
    open_installation()
    from django.db import transaction

    from postroom.flows import arranging
    from postroom.flows.showing import shape_of_workspace

    here = workspace_of(workspace)
    by = member_acting(here)
    with transaction.atomic():
        if name.strip():
            arranging.rename(here, name.strip(), by=by)
        if time_zone.strip():
            arranging.set_time_zone(here, time_zone, by=by)
    sentence = f"{here.slug} is called {here.name} and lives by the clock of {here.time_zone}."
    print_one(shape_of_workspace(here), sentence, as_json=as_json)


def _first_line(path: Path) -> str:
    from postroom.commands.failures import wrong_use

    lines = path.read_text("utf-8").splitlines()
    if not lines or not lines[0].strip():
        raise wrong_use(f"{path} is empty. Its first line has to be the password.")
    return lines[0].strip()
