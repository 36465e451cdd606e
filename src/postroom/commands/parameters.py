"""`postroom parameter …`."""

from __future__ import annotations

from typing import Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

app = typer.Typer(
    help="System Parameters: values that override the defaults of a workspace.", no_args_is_help=True
)


@app.command("list", epilog="Example: postroom parameter list --json")
def list_parameters(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List all parameters with their values."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows.parameter_shapes import shapes_of_parameters

    print_list(
        shapes_of_parameters(workspace_of(workspace)),
        ("key", "value", "is_default", "purpose"),
        as_json=as_json,
    )


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
    from postroom.flows.parameter_shapes import shapes_of_parameters

    here = workspace_of(workspace)
    arranging.set_parameter(here, key, value.strip(), by=member_acting(here))
    shape = next(shape for shape in shapes_of_parameters(here) if shape.key == key)
    print_one(shape, f"{shape.key} is {shape.value}.", as_json=as_json)
