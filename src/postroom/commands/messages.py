"""`postroom message …`."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postroom.commands.output import AsJson, InWorkspace, print_list, print_one

if TYPE_CHECKING:
    from postroom.conversations.models import Message, ScheduledMessage
    from postroom.flows.drafting import File
    from postroom.flows.posting import Draft
    from postroom.flows.shapes import MessageShape, ScheduledShape
    from postroom.workspaces.models import Member

TIME_FORM = '"2027-03-01 09:00" in UTC, or with an offset, "2027-03-01 09:00+02:00"'
SPEAKER = "Who says it: a contact; left out, the first operator or administrator."
TAKEN_BACK = "taken back; its writer finds it on the record, for a week"

app = typer.Typer(help="What is said on records.", no_args_is_help=True)


@app.command(
    "post",
    epilog='Example: postroom message post --record sale.order/SO042 --as ana@x.example --body "Shipped."',
)
def post(
    *,
    record: Annotated[str, typer.Option(metavar="MODEL/ID", help="Where it is said.")],
    body: Annotated[str, typer.Option(help="What is said; - reads it from standard input.")],
    author: Annotated[str, typer.Option("--as", metavar="ADDRESS", help=SPEAKER)] = "",
    subject: Annotated[str, typer.Option(help="The subject of the mails.")] = "",
    html: Annotated[bool, typer.Option("--html", help="The body is HTML.")] = False,
    note: Annotated[bool, typer.Option("--note", help="An internal note: only members are told.")] = False,
    to: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="Also tell; several times.")] = None,
    attach: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Attach; several times.")] = None,
    bulk: Annotated[
        bool | None, typer.Option("--bulk/--urgent", help="With the next run of the queue, or at once.")
    ] = None,
    confirm_outsiders: Annotated[
        bool, typer.Option(help="Yes, the outsiders named may read this note.")
    ] = False,
    post_at: Annotated[str, typer.Option(metavar="TIME", help=f"Say it then: {TIME_FORM}.")] = "",
    send_at: Annotated[
        str, typer.Option(metavar="TIME", help="Post it now; its emails, and only they, leave then.")
    ] = "",
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Post a message on a record, now or later; its followers and the people named are told."""
    at = moment(post_at)
    leave_at = moment(send_at)
    from postroom.commands.opening import member_acting, open_installation, workspace_of
    from postroom.commands.records import record_named

    open_installation()
    from postroom.conversations.models import Message
    from postroom.flows import drafting
    from postroom.flows.showing import messages_to_show, shape_of_message

    here = workspace_of(workspace)
    text = sys.stdin.read() if body == "-" else body
    said = drafting.Said(
        subject=subject,
        html=text if html else "",
        text="" if html else text,
        is_note=note,
        to=tuple(to or ()),
        author=author,
        stream=None if bulk is None else ("bulk" if bulk else "urgent"),
        files=tuple(_file(path) for path in attach or ()),
        are_outsiders_confirmed=confirm_outsiders,
        send_at=leave_at,
    )
    draft = drafting.draft(said, record_named(here, record), member_acting(here))
    if at is not None:
        _print_scheduled(_scheduled(draft, at), as_json=as_json)
        return
    message = messages_to_show(Message.objects.all()).get(pk=_posted(draft))
    shape = shape_of_message(message)
    print_one(shape, _posted_in_words(shape), as_json=as_json)


def _posted_in_words(shape: MessageShape) -> str:
    who = shape.author.name or shape.author.address if shape.author else "the workspace"
    told = f"{shape.id} was posted as {who}; {shape.delivery.total} will be told by email."
    return " ".join(filter(None, [told, _when_it_leaves(shape)]))


def _when_it_leaves(shape: MessageShape) -> str:
    """Of what does not leave at once: the time that was chosen, or what it waits for."""
    waiting = next((each for each in shape.recipients if each.state == "outgoing"), None)
    if waiting is None:
        return ""
    if shape.send_at is not None:
        return f"The emails leave on {shape.send_at:%Y-%m-%d %H:%M} UTC."
    if waiting.waits_reason:
        run = f"; it runs {waiting.expected_at:%Y-%m-%d %H:%M} UTC" if waiting.expected_at else ""
        return f"The mail {waiting.waits_reason}{run}."
    return ""


def _posted(draft: Draft) -> int:
    """Post it and return its number. Raises Stopped where outsiders have to be confirmed."""
    from postroom.flows import posting

    with _asking_for_confirmation():
        return posting.post(draft).pk


def _scheduled(draft: Draft, at: datetime) -> ScheduledMessage:
    """Schedule it. Raises Stopped where outsiders have to be confirmed."""
    from postroom.flows import scheduling

    with _asking_for_confirmation():
        return scheduling.schedule(draft, at)


@contextlib.contextmanager
def _asking_for_confirmation() -> Iterator[None]:
    from postroom.commands.failures import Stopped
    from postroom.flows import posting

    try:
        yield
    except posting.OutsidersNamed as named:
        who = ", ".join(str(contact) for contact in named.contacts)
        raise Stopped(
            f"{who} would read an internal note. Say --confirm-outsiders if that is meant."
        ) from named


@app.command("scheduled", epilog="Example: postroom message scheduled --json")
def scheduled(workspace: InWorkspace = "", as_json: AsJson = False) -> None:
    """List what waits to be said, what could not be said, and what its writer took back."""
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    from postroom.conversations.models import ScheduledMessage
    from postroom.flows.showing_later import scheduled_to_show, shapes_of_scheduled

    here = ScheduledMessage.objects.filter(workspace=workspace_of(workspace))
    said_later = here.open().exclude(is_undo_window=True, state="waiting")  # that is its writer's alone
    rows = scheduled_to_show(said_later | here.taken_back()).order_by("post_at", "pk")[:1000]
    columns = ("id", "post_at", "record", "state", "what")
    shapes = map(_for_everybody, shapes_of_scheduled(list(rows)))
    print_list(shapes, columns, as_json=as_json, words=_in_words)


def _for_everybody(shape: ScheduledShape) -> ScheduledShape:
    """Without the words if it was taken back: those are for its writer alone."""
    if shape.state != "cancelled":
        return shape
    return dataclasses.replace(shape, subject="", html="", text=TAKEN_BACK, to=[], attachments=[])


@app.command("reschedule", epilog='Example: postroom message reschedule sch_3 "2027-03-01 09:00"')
def reschedule(
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="sch_… is said then; the emails of msg_… leave then.")
    ],
    time: Annotated[str, typer.Argument(metavar="TIME", help=f"{TIME_FORM}; or now.")],
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Say something at another time, or let the emails of a message leave at another time."""
    at = _at_once() if time == "now" else moment(time)
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import leaving_later, scheduling

    by = member_acting(workspace_of(workspace))
    row = _row_named(wanted, by)
    if _is_scheduled(row):
        scheduling.reschedule(row, at or _at_once(), by)
        _print_scheduled(row, as_json=as_json)
    else:
        leaving_later.move_emails(row, at, by)
        _print_message(row, f"Its emails leave at {at:%Y-%m-%d %H:%M} UTC.", as_json=as_json)


@app.command("call-off", epilog="Example: postroom message call-off sch_3")
def call_off(
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="sch_… is never said; the emails of msg_… never leave.")
    ],
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Call off what waits to be said, or the emails of a message that have not left."""
    from postroom.commands.opening import member_acting, open_installation, workspace_of

    open_installation()
    from postroom.flows import leaving_later, scheduling

    by = member_acting(workspace_of(workspace))
    row = _row_named(wanted, by)
    if _is_scheduled(row):
        scheduling.cancel(row, by)
        _print_scheduled(row, as_json=as_json)
    else:
        count = leaving_later.call_off_emails(row, by)
        _print_message(
            row, f"{count} {'email was' if count == 1 else 'emails were'} cancelled.", as_json=as_json
        )


def moment(text: str) -> datetime | None:
    """A time from the command line, in UTC unless it names its offset; None if it is empty."""
    from postroom.commands.failures import wrong_use

    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise wrong_use(f"{text!r} is no time. Write it like this: {TIME_FORM}.") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _at_once() -> datetime:
    return datetime.now(UTC)


def _row_named(text: str, by: Member) -> Any:
    """The scheduled message (sch_…) or the message (msg_…) with this id. Raises Stopped if there is none."""
    from postroom.commands.failures import Stopped
    from postroom.conversations.models import Message, ScheduledMessage
    from postroom.flows.showing import number_in

    row: Message | ScheduledMessage | None
    if (number := number_in(text, "sch")) is not None:
        row = ScheduledMessage.objects.for_member(by).filter(pk=number).first()
    else:
        row = Message.objects.for_member(by).filter(pk=number_in(text, "msg") or 0).first()
    if row is None:
        raise Stopped(
            f"There is no {text!r}. Ids look like sch_3 or msg_12; see `postroom message scheduled`."
        )
    return row


def _is_scheduled(row: Message | ScheduledMessage) -> bool:
    return type(row).__name__ == "ScheduledMessage"


def _print_scheduled(row: ScheduledMessage, *, as_json: bool) -> None:
    from postroom.conversations.models import ScheduledMessage
    from postroom.flows.showing_later import scheduled_to_show, shape_of_scheduled

    shape = shape_of_scheduled(scheduled_to_show(ScheduledMessage.objects.all()).get(pk=row.pk))
    print_one(shape, f"{shape.id}: {_in_words(shape)}", as_json=as_json)


def _print_message(row: Message, sentence: str, *, as_json: bool) -> None:
    from postroom.conversations.models import Message
    from postroom.flows.showing import messages_to_show, shape_of_message

    shape = shape_of_message(messages_to_show(Message.objects.all()).get(pk=row.pk))
    print_one(shape, sentence, as_json=as_json)


def _in_words(shape: ScheduledShape) -> str:
    """What will happen to it, or what happened."""
    what = (shape.subject or " ".join(shape.text.split()))[:60]
    match shape.state:
        case "waiting":
            return f"said on {shape.post_at:%Y-%m-%d %H:%M} UTC: {what}"
        case "failed":
            return f"could not be said: {shape.failure_text}"
        case "posted":
            return f"was posted as {shape.message}."
        case "cancelled" if shape.text == TAKEN_BACK:
            return TAKEN_BACK
        case _:
            return f"called off: {what}"


def _file(path: Path) -> File:
    import mimetypes

    from postroom.flows.drafting import File

    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return File(path.name, kind, path.read_bytes())
