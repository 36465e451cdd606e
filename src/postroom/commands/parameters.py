"""`postroom parameter …`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.workspaces.models import Workspace

app = typer.Typer(
    help="System Parameters: values that override the defaults of a workspace.", no_args_is_help=True
)


@dataclass(frozen=True, slots=True)
class ParameterShape:
    """A System Parameter; `is_default` says that nothing overrides it."""

    key: str
    value: str
    is_default: bool
    purpose: str


@app.command("list", epilog="Example: postroom parameter list --json")
def list_parameters(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List all parameters with their values."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    print_list(_shapes(workspace_of(workspace)), ("key", "value", "is_default", "purpose"), as_json=as_json)


@app.command("set", epilog="Example: postroom parameter set mail.retry.deadline_hours 24")
def set_parameter(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Empty: back to the default.")],
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Set a parameter; an empty value brings the default back."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import arranging

    here = workspace_of(workspace)
    arranging.set_parameter(here, key, value.strip(), by=member_acting(here))
    shape = next(shape for shape in _shapes(here) if shape.key == key)
    print_one(shape, f"{shape.key} is {shape.value}.", as_json=as_json)


def _shapes(workspace: Workspace) -> list[ParameterShape]:
    from postroom.workspaces.models import SystemParameter
    from postroom.workspaces.parameters import KNOWN

    set_here = dict(SystemParameter.objects.filter(workspace=workspace).values_list("key", "value"))
    return [
        ParameterShape(key, set_here.get(key, known.default), key not in set_here, str(known.purpose))
        for key, known in sorted(KNOWN.items())
    ]
