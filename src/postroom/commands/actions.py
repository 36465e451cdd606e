"""`postroom action …`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroom.commands.output import AsJson, InWorkspace, print_json, print_list, print_one, print_words

if TYPE_CHECKING:
    from datetime import datetime

    from postroom.flows.action_shapes import ActionShape
    from postroom.schedule.models import ScheduledAction
    from postroom.workspaces.models import Member

app = typer.Typer(
    help="Scheduled actions: what a workspace has done for it again and again.", no_args_is_help=True
)
Named = Annotated[
    str,
    typer.Argument(metavar="ACTION", help='Its key or its name: mail_queue, or "Mail: Email Queue Manager".'),
]
UNITS = ("minutes", "hours", "days", "weeks", "months")
POLL_SECONDS = 0.25


@app.command("list", epilog="Example: postroom action list --json")
def list_actions(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List the scheduled actions with their state and next call."""
    by = _opened(workspace)
    from postroom.flows.action_shapes import actions_to_show, shape_of_action

    shapes = list(map(shape_of_action, actions_to_show(by)))
    columns = ("key", "every", "time_zone", "runs_next_at", "last_run_at", "state", "what")
    print_list(shapes, columns, as_json=as_json, words=lambda shape: shape.meaning)
    if shapes and not as_json:
        print_words("“Every” goes by the clock of the time zone beside it; the other times are in UTC.")


@app.command("show", epilog="Example: postroom action show mail_queue --json")
def show(action: Named, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Show one: how it is, what it did last, and when it runs next."""
    by = _opened(workspace)
    from postroom.flows.action_shapes import shape_of_action

    shape = shape_of_action(_action(by, action))
    print_one(shape, _in_words(shape), as_json=as_json)


@app.command("run", epilog="Example: postroom action run auto_vacuum --wait")
def run(
    action: Named,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the run has ended; exits 1 if it failed.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="With --wait: for so many seconds at most.")] = 120,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Run one now, also if it is switched off. The running installation does it; this only asks for it."""
    by = _opened(workspace)
    from postroom.flows import acting

    row = _action(by, action)
    warnings = acting.run_now(row, by)
    if wait:
        _wait(by, row, timeout)
    shape = _print_changed(by, row, warnings, as_json=as_json)
    if wait and shape.last_result != "done":
        raise typer.Exit(1)


@app.command("set", epilog="Example: postroom action set mail_queue --every 30 --unit minutes")
def set_action(
    action: Named,
    *,
    every: Annotated[
        int | None, typer.Option(help="How many of the unit, 1 to 999; at least 5 minutes.")
    ] = None,
    unit: Annotated[str, typer.Option(help=f"One of {', '.join(UNITS)}.")] = "",
    next_call: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Its next call, such as 2027-01-31T03:20, by the clock of its zone."
        ),
    ] = "",
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose clock it keeps; empty: that of the workspace.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="From 0, which runs first, to 99.")] = None,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Change when one runs. What is not named stays."""
    from postroom.commands.failures import wrong_use

    asked = {"interval": every, "unit": unit or None, "time_zone": time_zone, "priority": priority}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if not given and not next_call:
        raise wrong_use("Say what to change: --every, --unit, --next-call, --time-zone or --priority.")
    if unit and unit not in UNITS:
        raise wrong_use(f"There is no unit {unit!r}. Choose one of {', '.join(UNITS)}.")
    by = _opened(workspace)
    row = _action(by, action)
    if next_call:
        given["next_call_at"] = _moment(next_call)
    _change(by, row, given, as_json=as_json)


@app.command("enable", epilog="Example: postroom action enable dns_check")
def enable(action: Named, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Switch one on; failures that switched it off are forgotten."""
    by = _opened(workspace)
    _change(by, _action(by, action), {"is_active": True}, as_json=as_json)


@app.command("disable", epilog="Example: postroom action disable dns_check")
def disable(action: Named, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Switch one off: it then runs only when somebody asks for it."""
    by = _opened(workspace)
    _change(by, _action(by, action), {"is_active": False}, as_json=as_json)


def _opened(slug: str) -> Member:
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    return member_acting(workspace_of(slug))


def _action(by: Member, text: str) -> ScheduledAction:
    from postroom.commands.failures import Stopped, wrong_use
    from postroom.flows.action_shapes import actions_to_show
    from postroom.schedule.catalogue import SHIPPED, named

    meant = named(text)
    if meant is None:
        raise wrong_use(f"There is no action {text!r}. There is: {', '.join(SHIPPED)}.")
    row = actions_to_show(by).filter(key=meant.key).first()
    if row is None:
        raise Stopped(f"{by.workspace.slug} has no actions yet. They are made when `postroom up` starts.")
    return row


def _moment(text: str) -> datetime:
    """A time as typed; without an offset it is meant by the clock that the action is to keep."""
    from datetime import datetime

    from postroom.commands.failures import wrong_use

    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise wrong_use(f"{text!r} is no time. Write one like 2027-01-31T03:20.") from error


def _change(by: Member, row: ScheduledAction, given: dict[str, Any], *, as_json: bool) -> None:
    from postroom.flows import action_settings

    _print_changed(by, row, action_settings.change(row, by, **given), as_json=as_json)


def _print_changed(
    by: Member, row: ScheduledAction, warnings: Iterable[str], *, as_json: bool
) -> ActionShape:
    from postroom.flows.action_shapes import ChangedActionShape, shape_of_action

    shape, said = shape_of_action(_action(by, row.key)), list(warnings)
    if as_json:
        print_json(ChangedActionShape(shape, said))
    else:
        print_one(shape, "\n".join([_in_words(shape), *said]), as_json=False)
    return shape


def _wait(by: Member, row: ScheduledAction, seconds: float) -> None:
    """Until the run that was asked for has ended, turns of one that goes on included.

    It looks again and again, for a command that has ended in between cannot be woken.
    """
    from postroom.commands.failures import Stopped

    ends_at = time.monotonic() + seconds
    while not _has_ended(by, row):
        if time.monotonic() >= ends_at:
            raise Stopped(
                f"The run of {row.key} has not ended within {seconds:g} seconds; it was asked for and "
                f"goes on. Is `postroom up` running? Look again with `postroom action show {row.key}`."
            )
        time.sleep(POLL_SECONDS)


def _has_ended(by: Member, before: ScheduledAction) -> bool:
    now = _action(by, before.key)
    is_asked = any(one.is_by_hand for one in now.triggers.all())
    return not (is_asked or now.is_running or now.is_unfinished)


def _in_words(shape: ActionShape) -> str:
    lines = [f"{shape.name} ({shape.key}): {shape.state}. {shape.meaning}"]
    if shape.is_available:
        lines += [_times(shape), *filter(None, [_last(shape), _trouble(shape)])]
    return "\n".join(lines)


def _times(shape: ActionShape) -> str:
    from postroom.schedule.planning import zone_named

    if not shape.is_active:
        return f"It is switched off; switched on, it would run {shape.every} ({shape.time_zone})."
    local = shape.next_call_at.astimezone(zone_named(shape.time_zone))
    early = [f"{one.at:%Y-%m-%d %H:%M} UTC" for one in shape.triggers if one.at < shape.next_call_at]
    planned = f"; planned earlier: {', '.join(early)}" if early else ""
    return f"It runs {shape.every}, next {local:%Y-%m-%d %H:%M} {shape.time_zone}{planned}."


def _last(shape: ActionShape) -> str:
    from postroom.flows.action_words import counts_words, duration

    if shape.last_run_at is None or shape.last_seconds is None:
        return ""
    did = counts_words(shape.last_counts)
    took = f"{shape.last_run_at:%Y-%m-%d %H:%M} UTC, {duration(shape.last_seconds)}"
    return f"Last run: {took}, {shape.last_result}{f': {did}' if did else ''}."


def _trouble(shape: ActionShape) -> str:
    since = f" since {shape.failing_since:%Y-%m-%d %H:%M} UTC" if shape.failing_since else ""
    failed = f"{shape.failure_count} runs failed one after another{since}." if shape.failure_count else ""
    return " ".join(filter(None, [failed, f"The error: {shape.last_error}" if shape.last_error else ""]))
