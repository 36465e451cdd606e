"""`postroom explain …`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from postroom.commands.output import AsJson, InWorkspace, print_one

if TYPE_CHECKING:
    from postroom.conversations.models import Message
    from postroom.workspaces.models import Workspace

_REPLY = re.compile(r"\s*([245]\d\d)(?:[ -]+([245]\.\d{1,3}\.\d{1,3}))?[ -]*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ExplanationShape:
    """What a server's answer means; `reason` is a stable id."""

    reason: str
    what_happened: str
    who_must_act: str
    next_step: str
    is_retry_useful: bool


@dataclass(frozen=True, slots=True)
class StepShape:
    """One thing that happened on the way."""

    at: datetime
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class TrailShape:
    """Everything that happened between a message and one address."""

    message: str
    address: str
    verdict: str
    who_must_act: str
    button: str | None
    steps: list[StepShape]


def explain(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="ID|REPLY",
            help='msg_12 (or 12, as on the page Why?), em_12, a Message-ID, or "550 5.1.1 …".',
        ),
    ],
    address: Annotated[str, typer.Option(metavar="ADDRESS", help="Which recipient of the message.")] = "",
    workspace: InWorkspace = "",
    as_json: AsJson = False,
) -> None:
    """Say why: what became of a message at an address, or what a server's answer means."""
    if reply := _REPLY.fullmatch(subject):
        _explain_reply(int(reply[1]), reply[2] or "", reply[3], as_json=as_json)
        return
    from postroom.commands.opening import open_installation, workspace_of

    open_installation()
    message, recipient = _meant(workspace_of(workspace), subject.strip(), address)
    _print_trail(message, recipient, as_json=as_json)


def _explain_reply(code: int, enhanced: str, text: str, *, as_json: bool) -> None:
    from django.conf import settings

    if not settings.configured:  # a reply means the same everywhere: no installation is opened or made
        settings.configure(USE_I18N=False)
    from postroom.diagnostics.explain import explain as explain_reply

    told = explain_reply(code=code, enhanced=enhanced, text=text)
    shape = ExplanationShape(
        told.reason,
        str(told.what_happened),
        str(told.who_must_act),
        str(told.next_step),
        told.is_retry_useful,
    )
    print_one(shape, f"{shape.what_happened}\n{shape.next_step}", as_json=as_json)


def _meant(workspace: Workspace, text: str, address: str) -> tuple[Message, str]:
    """The message and the recipient that are meant. Raises Stopped with the choice."""
    from postroom.commands.failures import Stopped, wrong_use
    from postroom.flows.showing import number_in
    from postroom.outgoing.models import Email

    number = number_in(text, "em")
    if number is not None:
        email = (
            Email.objects.filter(workspace=workspace, pk=number).select_related("address", "message").first()
        )
        if email is None:
            raise Stopped(f"There is no email {text} in {workspace}. See `postroom queue list`.")
        return email.message, email.address.addr_spec
    message = _message(workspace, text)
    recipients = list(message.emails.values_list("address__addr_spec", flat=True).order_by("pk")[:20])
    if address:
        return message, address
    if len(recipients) == 1:
        return message, recipients[0]
    raise wrong_use(f"Name a recipient with --address: {', '.join(recipients) or 'nobody was mailed'}.")


def _message(workspace: Workspace, text: str) -> Message:
    from django.db.models import Q

    from postroom.commands.failures import Stopped
    from postroom.conversations.models import Message
    from postroom.flows.showing import number_in

    bare = text.strip("<>")
    number = number_in(f"msg_{text}", "msg") or number_in(text, "msg") or 0
    wanted = Q(message_id=f"<{bare}>") | Q(id_aliases__alias=f"<{bare}>") | Q(pk=number)
    message = Message.objects.filter(wanted, workspace=workspace).first()
    if message is None:
        raise Stopped(
            f"There is no message {text} in {workspace}. Give msg_12 or 12, em_12, or a Message-ID."
        )
    return message


def _print_trail(message: Message, recipient: str, *, as_json: bool) -> None:
    from postroom.diagnostics.trail import trail
    from postroom.flows.showing import message_id
    from postroom.wire.address import normalise

    told = trail(message, normalise(recipient))
    steps = [StepShape(step.at, str(step.what), str(step.detail)) for step in told.steps]
    button = str(told.button) if told.button else None
    shape = TrailShape(
        message_id(message.pk), recipient, str(told.verdict), str(told.who_must_act), button, steps
    )
    lines = [f"{step.at:%Y-%m-%d %H:%M:%S}  {step.what}  {step.detail}".rstrip() for step in steps]
    print_one(shape, "\n".join([shape.verdict, *lines]), as_json=as_json)
