"""`postroom quota …`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.flows.limit_shapes import LimitRequestShape, QuotaShape
    from postroom.workspaces.models import LimitRequest, Member, Workspace

app = typer.Typer(help="Daily limits: what is used, and what operators set.", no_args_is_help=True)
Slug = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Its short name, as in `workspace list`.")]
Answer = Annotated[str, typer.Option(metavar="TEXT", help="A line of reason for whoever asked.")]
PLAN = "plan:"


@app.command("show", epilog="Example: postroom quota show --workspace demo --json")
def show(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Say how much of the daily limit is used and when it starts again."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows.limit_shapes import shape_of_quota

    shape = shape_of_quota(workspace_of(workspace))
    print_one(shape, _in_words(shape), as_json=as_json)


@app.command("set", epilog="Example: postroom quota set demo 500, or: postroom quota set demo plan:trial")
def set_quota(
    workspace: Slug,
    limit: Annotated[
        str,
        typer.Argument(
            metavar="LIMIT|plan:NAME",
            help="Emails a day, at least 5; or a plan with its own figure: paid, one_app_free, trial, "
            "migrating, unlimited. plan: alone goes back to the figure of the plan it has.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Set the daily limit of a workspace as an operator; what waited leaves at once."""
    figure, plan = _read(limit)
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows import limits
    from postroom.flows.limit_shapes import shape_of_quota

    here = workspace_of(workspace)
    limits.set_limit(here, figure, plan, by=_operator())
    here.refresh_from_db()
    shape = shape_of_quota(here)
    print_one(shape, _in_words(shape), as_json=as_json)


@app.command("requests", epilog="Example: postroom quota requests --json")
def requests(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were decided.")] = False,
    as_json: AsJson = False,
) -> None:
    """List who asks for a higher limit, in all workspaces."""
    from postroom.commands.opening import open_installation

    open_installation()
    from postroom.flows.limit_shapes import requests_to_show, shape_of_request

    rows = requests_to_show().order_by("pk")
    shapes = map(shape_of_request, rows if everything else rows.filter(decided_at=None))
    columns = ("workspace", "wanted", "recommended", "asked_by", "asked_at", "state", "granted", "reason")
    print_list(shapes, columns, as_json=as_json)


@app.command("grant", epilog="Example: postroom quota grant demo 500")
def grant(
    workspace: Slug,
    limit: Annotated[int, typer.Argument(metavar="LIMIT", help="Emails a day.")],
    answer: Answer = "",
    as_json: AsJson = False,
) -> None:
    """Grant the open request of a workspace, with this figure."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows import limit_requests

    asked = _open_request(workspace_of(workspace))
    limit_requests.grant(asked, limit, by=_operator(), answer=answer)
    _print_decided(asked, f"{workspace} may send {limit} emails a day.", as_json=as_json)


@app.command("decline", epilog="Example: postroom quota decline demo")
def decline(workspace: Slug, answer: Answer = "", as_json: AsJson = False) -> None:
    """Decline the open request of a workspace; its limit stays."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.flows import limit_requests

    asked = _open_request(workspace_of(workspace))
    limit_requests.decline(asked, by=_operator(), answer=answer)
    _print_decided(asked, f"The request of {workspace} is declined; its limit stays.", as_json=as_json)


@app.command("withdraw", epilog="Example: postroom quota withdraw demo")
def withdraw(workspace: Slug, as_json: AsJson = False) -> None:
    """Take the open request of a workspace back, so that it can be asked anew."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import limit_requests
    from postroom.flows.limit_shapes import shape_of_quota

    here = workspace_of(workspace)
    limit_requests.withdraw(here, by=member_acting(here))
    print_one(shape_of_quota(here), f"The request of {workspace} was withdrawn.", as_json=as_json)


def _in_words(shape: QuotaShape) -> str:
    if shape.limit is None:
        return f"{shape.workspace} has no daily limit.{_failed(shape)}"
    again = f"It starts again at {shape.resets_at:%Y-%m-%d %H:%M} UTC."
    last = f"; the last leaves about {shape.held_last_at:%Y-%m-%d %H:%M} UTC" if shape.held_last_at else ""
    waits = f" {shape.held} emails wait for that{last}." if shape.held else ""
    used = f"{shape.workspace} has used {shape.used} of {shape.limit} emails today."
    return f"{used} {again}{waits}{_failed(shape)}"


def _failed(shape: QuotaShape) -> str:
    """What failed over the limit, and how much of it may leave now."""
    if not shape.failed:
        return ""
    now = shape.failed if shape.left is None else min(shape.failed, shape.left)
    fits = f"Retry lets {now} of them leave now" if now else "Retry works when the day starts again"
    return (
        f" {shape.failed} emails failed over the limit. {fits}: `postroom queue list --state failed` names "
        "them, `postroom queue retry ID…` or Retry under Emails, Delivery Failed."
    )


def _read(text: str) -> tuple[int | None, str | None]:
    """The figure and the plan that are meant; None is not given."""
    from postroom.commands.failures import wrong_use

    if text.startswith(PLAN):
        return None, text.removeprefix(PLAN) or None
    if not text.isascii() or not text.isdigit() or len(text) > 8:
        raise wrong_use(f"{text!r} is no limit. Write a number such as 500, or a plan such as plan:trial.")
    return int(text), None


def _operator() -> Member:
    """The first operator of the installation: whoever has this command line is one."""
    from postroom.commands.failures import Stopped
    from postroom.workspaces.models import Member, Role

    found = Member.objects.active().filter(role=Role.OPERATOR).order_by("pk").first()
    if found is None:
        raise Stopped("No operator is active. Invite one with `postroom user invite --role operator`.")
    found.is_command = True
    return found


def _open_request(workspace: Workspace) -> LimitRequest:
    from postroom.commands.failures import Stopped
    from postroom.workspaces.models import LimitRequest

    found = LimitRequest.objects.filter(workspace=workspace, decided_at=None).first()
    if found is None:
        raise Stopped(f"{workspace.slug} has no open request. See `postroom quota requests`.")
    return found


def _print_decided(asked: LimitRequest, sentence: str, *, as_json: bool) -> None:
    from postroom.flows.limit_shapes import requests_to_show, shape_of_request

    shape: LimitRequestShape = shape_of_request(requests_to_show().get(pk=asked.pk))
    print_one(shape, sentence, as_json=as_json)
