"""`postroom capture …`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from postroom.commands.calling import line_for
from postroom.commands.output import AsJson, print_one

app = typer.Typer(help="Capture mode: mail is made and kept, nothing leaves.", no_args_is_help=True)
ForWorkspace = Annotated[
    str,
    typer.Option(
        "--workspace", metavar="SLUG", help="Only this workspace; left out: the whole installation."
    ),
]


@dataclass(frozen=True, slots=True)
class CaptureShape:
    """Does mail leave? `installation` and `workspaces` say what captures; `reason` is by_hand or copy."""

    installation: bool
    since: datetime | None
    reason: str | None
    workspaces: list[str]


@app.command("status", epilog="Example: postroom capture status --json")
def status(as_json: AsJson = False) -> None:
    """Say whether mail leaves."""
    from postroom.commands.opening import open_installation

    open_installation()
    _print_status(as_json=as_json)


@app.command("on", epilog="Example: postroom capture on")
def switch_on(workspace: ForWorkspace = "", as_json: AsJson = False) -> None:
    """From now on nothing leaves."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows import capture

    capture.switch_on(workspace_of(workspace) if workspace else None)
    _print_status(as_json=as_json)


@app.command("off", epilog="Example: postroom capture off --retry-captured")
def switch_off(
    retry_captured: Annotated[bool, typer.Option(help="Also send what was captured.")] = False,
    workspace: ForWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """From now on mail leaves again. What was captured stays Cancelled unless you say otherwise."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows import capture

    count = capture.switch_off(
        workspace_of(workspace) if workspace else None, is_captured_retried=retry_captured
    )
    if count and not as_json:
        print(f"{count} captured emails go out now.")
    _print_status(as_json=as_json)


def _print_status(*, as_json: bool) -> None:
    from postroom.workspaces.models import Installation, Workspace

    row = Installation.objects.get()
    names = list(Workspace.objects.filter(is_capturing=True).order_by("slug").values_list("slug", flat=True))
    shape = CaptureShape(
        row.capturing_since is not None, row.capturing_since, row.capture_reason or None, names
    )
    print_one(shape, _in_words(shape), as_json=as_json)


def installation_in_words(reason: str | None) -> str:
    """The sentence for an installation from which nothing leaves; `reason` is by_hand or copy."""
    because = " because this looks like a copy of another installation" if reason == "copy" else ""
    return f"Capture mode is on{because}: nothing leaves. `{line_for('capture off')}` ends it."


def _in_words(shape: CaptureShape) -> str:
    if shape.installation:
        return installation_in_words(shape.reason)
    if shape.workspaces:
        return f"Capture mode is on in {', '.join(shape.workspaces)}: nothing leaves from there."
    return "Capture mode is off: mail leaves."
