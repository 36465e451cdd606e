"""`postroom capture …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.calling import line_for
from postroom.commands.output import AsJson, print_one

if TYPE_CHECKING:
    from postroom.flows.capture_shapes import CaptureLevelShape, CaptureShape
    from postroom.workspaces.models import Installation

app = typer.Typer(
    help="Capture mode: mail is made, and kept in, redirected or let through to a few.", no_args_is_help=True
)
ForWorkspace = Annotated[
    str,
    typer.Option(
        "--workspace", metavar="SLUG", help="Only this workspace; left out: the whole installation."
    ),
]
MODES = ("all", "redirect", "allow")


@app.command("status", epilog="Example: postroom capture status --json")
def status(as_json: AsJson = False) -> None:
    """Say whether mail leaves, and to whom."""
    from postroom.commands.opening import open_installation

    open_installation()
    _print_status(as_json=as_json)


@app.command("on", epilog="Example: postroom capture on --mode redirect --to you@example.com")
def switch_on(
    mode: Annotated[
        str, typer.Option(help="all keeps everything in, redirect sends it to one address, allow to a list.")
    ] = "all",
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="Who gets everything (redirect).")] = "",
    allow: Annotated[
        list[str] | None, typer.Option(metavar="DOMAIN|ADDRESS", help="Lets mail through; several times.")
    ] = None,
    workspace: ForWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Capture mail from now on, or change how it is captured."""
    from postroom.commands.failures import wrong_use
    from postroom.commands.opening import open_installation, workspace_of

    if mode not in MODES:
        raise wrong_use(f"There is no mode {mode!r}. Choose one of {', '.join(MODES)}.")
    open_installation()
    from postroom.flows import capture

    meant = workspace_of(workspace) if workspace else None
    capture.switch_on(meant, mode=mode, to=to, allowed=", ".join(allow or ()))
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
    from postroom.workspaces import installation
    from postroom.workspaces.models import Installation

    meant = workspace_of(workspace) if workspace else None
    was_copy = meant is None and Installation.objects.filter(capture_reason=installation.COPY).exists()
    count = capture.switch_off(meant, is_captured_retried=retry_captured)
    if count and not as_json:
        print(f"{count} captured {'email goes' if count == 1 else 'emails go'} out now.")
    _print_status(as_json=as_json)
    if not as_json:
        _print_what_stays(capture.captured_count(meant), workspace)
        if was_copy:
            print("This is the original from now on: what it was copied from must not run any more.")


def _print_what_stays(count: int, slug: str) -> None:
    if count:
        stays = "email stays" if count == 1 else "emails stay"
        line = line_for(f"capture off --retry-captured{f' --workspace {slug}' if slug else ''}")
        print(f"{count} captured {stays} Cancelled. `{line}` sends what may leave.")


def _print_status(*, as_json: bool) -> None:
    from postroom.flows.capture_shapes import shape_of_capture
    from postroom.workspaces.models import Workspace

    shape = shape_of_capture(list(Workspace.objects.filter(is_capturing=True).order_by("slug")))
    print_one(shape, _in_words(shape), as_json=as_json)


def installation_in_words(row: Installation) -> str:
    """The sentences for an installation that captures: what leaves, why, and how it ends."""
    from postroom.flows.capture_shapes import level_of
    from postroom.workspaces import installation

    environment = level_of(installation.of_environment())
    own = level_of(installation.of_installation(row))
    found = [_level_in_words(level, row.capture_reason) for level in (environment, own) if level]
    return "\n".join(found)


def _in_words(shape: CaptureShape) -> str:
    if not shape.levels:
        return "Capture mode is off: mail leaves."
    return "\n".join(_level_in_words(level, shape.reason) for level in shape.levels)


def _level_in_words(level: CaptureLevelShape, reason: str | None) -> str:
    if level.level == "environment":
        return f"Capture mode is set by POSTROOM_CAPTURE: {_what(level)}. Only a start without it ends it."
    if level.workspace is not None:
        end = line_for(f"capture off --workspace {level.workspace}")
        return f"Capture mode is on in {level.workspace}: {_what(level)}. `{end}` ends it."
    because = " because this looks like a copy of another installation" if reason == "copy" else ""
    return f"Capture mode is on{because}: {_what(level)}. `{line_for('capture off')}` ends it."


def _what(level: CaptureLevelShape) -> str:
    match level.mode:
        case "redirect":
            return f"everything goes to {level.to} alone"
        case "allow":
            return f"nothing leaves but to {level.allowed}"
        case _:
            return "nothing leaves"
