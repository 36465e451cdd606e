"""`postroom queue …`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.flows.shapes import EmailShape

app = typer.Typer(help="The emails: what waits, what failed, what went.", no_args_is_help=True)
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids such as em_12, or plain numbers.")]
CANCELLED = {
    "captured": "captured: capture mode kept it in",
    "member": "cancelled by a person; `postroom explain` says by whom",
}
STATES = ("outgoing", "sent", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class LeftShape:
    """An email that stays as it is, and what to do about it."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class CountShape:
    """How many emails were changed. `left` names those that this could not help, and why.

    `notes` says what else keeps some of the changed ones, and what to do about it.
    """

    count: int
    left: list[LeftShape]
    notes: list[str] = field(default_factory=list)


@app.command("list", epilog="Example: postroom queue list --state failed --json")
def list_emails(
    *,
    state: Annotated[str, typer.Option(help=f"One of {', '.join(STATES)}.")] = "",
    search: Annotated[
        str, typer.Option(help="Only those whose address, subject or record has this in it.")
    ] = "",
    captured: Annotated[bool, typer.Option("--captured", help="Only what capture mode kept in.")] = False,
    redirected: Annotated[
        bool, typer.Option("--redirected", help="Only what capture mode sent to another address.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 50,
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """List emails, newest first."""
    from postroom.commands.failures import wrong_use
    from postroom.commands.opening import open_installation, workspace_of

    if state and state not in STATES:
        raise wrong_use(f"There is no state {state!r}. Choose one of {', '.join(STATES)}.")
    open_installation()
    from postroom.flows.showing import emails_of, emails_to_show, shapes_of_emails

    capture = "captured" if captured else ("redirected" if redirected else "")
    emails = emails_of(workspace_of(workspace), state=state, search=search, capture=capture)
    shapes = shapes_of_emails(emails_to_show(emails)[:limit])
    print_list(shapes, ("id", "address", "state", "what"), as_json=as_json, words=_next_step)


def _next_step(email: EmailShape) -> str:
    """What happens next and when, or what happened."""
    if email.in_hand_until:
        return _in_hand(email.in_hand_until)
    if email.held_because:
        return _held(email)
    if email.state == "outgoing":
        return _waits(email)
    if email.redirected_to:
        return f"{email.state}: to {email.redirected_to} instead of {email.address} (capture mode)"
    if email.state == "sent":
        return f"{email.sent_at:%Y-%m-%d %H:%M}" if email.sent_at else ""
    if email.state == "cancelled":
        return CANCELLED.get(email.cancelled_because or "", "not sent")
    return email.failure_text or ""


def _in_hand(until: datetime) -> str:
    """A lease that is over was never given back: whoever had it is gone."""
    if until > datetime.now(UTC):
        return f"being sent; if its worker is lost, settled after {until:%Y-%m-%d %H:%M}"
    return "was being sent by a worker that is gone and may have arrived; settled as soon as an engine runs"


def _held(email: EmailShape) -> str:
    until = f" until {email.held_until:%Y-%m-%d %H:%M}" if email.held_until else ""
    is_later = email.expected_at and email.held_until and email.expected_at > email.held_until
    turn = f"; this one about {email.expected_at:%Y-%m-%d %H:%M}" if is_later else ""
    return f"held{until}: {email.held_reason}{turn}"


def _waits(email: EmailShape) -> str:
    """A first try at a time to come was scheduled; one that is due leaves as soon as its turn comes."""
    last = f"; the last answer: {email.failure_text}" if email.failure_text else ""
    is_timed = email.due_at is not None and email.expected_at is not None and email.due_at > datetime.now(UTC)
    if email.waits_reason and not is_timed:
        run = f"; it runs {email.expected_at:%Y-%m-%d %H:%M}" if email.expected_at else ""
        return f"{email.waits_reason}{run}{last}"
    if email.due_at is None or (not email.attempt_count and email.due_at <= datetime.now(UTC)):
        return f"waits{last}"
    when = "next try" if email.attempt_count else "scheduled for"
    return f"{when} {email.due_at:%Y-%m-%d %H:%M}{last}"


@app.command("retry", epilog="Example: postroom queue retry em_12 em_13")
def retry(ids: Ids, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Put emails in Delivery Failed or Cancelled back into Outgoing.

    Those that no server can send any more stay as they are and are named; the others leave.
    """
    _change("retry", ids, workspace, as_json=as_json)


@app.command("send-now", epilog="Example: postroom queue send-now em_12")
def send_now(ids: Ids, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Let Outgoing emails leave at once.

    What a pause or a limit keeps in stays as it is and is named, because no hurry helps there.
    """
    _change("send_now", ids, workspace, as_json=as_json)


@app.command("cancel", epilog="Example: postroom queue cancel em_12")
def cancel(ids: Ids, workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """Take Outgoing emails out of the queue."""
    _change("cancel", ids, workspace, as_json=as_json)


def _change(verb: str, ids: Sequence[str], slug: str, *, as_json: bool) -> None:
    from postroom.commands.failures import Stopped
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    numbers = [_number(text) for text in ids]
    open_installation()
    from postroom.diagnostics import wait_words
    from postroom.flows import retrying
    from postroom.flows.foretelling import capture_words
    from postroom.outgoing.models import Email

    by = member_acting(workspace_of(slug))
    chosen = Email.objects.for_member(by).filter(pk__in=numbers)
    if verb == "cancel":
        done = retrying.Retried(retrying.cancel(chosen, by), {})
    else:
        flow: Callable[..., retrying.Retried] = getattr(retrying, f"{verb}_what_can")
        done = flow(chosen, by)
    count, left = done.count, [LeftShape(f"em_{pk}", why) for pk, why in sorted(done.left.items())]
    if count == 0 and not left:
        raise Stopped(
            "None of these emails can be changed so. Look at their state with `postroom queue list`."
        )
    said = [f"{count} of {len(numbers)} changed.", *(f"{one.id} stays as it is: {one.why}" for one in left)]
    notes = [wait_words.kept_by(name, number) for name, number in done.kept_by.items()]
    if count and verb != "cancel":
        notes += filter(None, [capture_words(by.workspace)])
    print_one(CountShape(count, left, notes), "\n".join([*said, *notes]), as_json=as_json)
    if count == 0:
        raise typer.Exit(1)


def _number(text: str) -> int:
    from postroom.commands.failures import wrong_use

    digits = text.removeprefix("em_")
    if not digits.isdigit() or len(digits) > 18:
        raise wrong_use(f"{text!r} is no email. Ids look like em_12; see `postroom queue list`.")
    return int(digits)
