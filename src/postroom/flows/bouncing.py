"""A delivery report finds its Email and tells what became of it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from postroom.conversations.models import Message
from postroom.diagnostics import events
from postroom.diagnostics.events import EventKind
from postroom.flows.telling import tell_failures
from postroom.incoming import replies
from postroom.outgoing.bounced import BounceVerdict, bounce
from postroom.outgoing.models import Email
from postroom.wire.address import AddressError, normalise
from postroom.wire.dsn import Action, DeliveryReport, RecipientReport
from postroom.wire.reply import EnhancedStatus, Reply
from postroom.wire.tokens import ReturnPathToken
from postroom.workspaces import tokens
from postroom.workspaces.models import Workspace

log = logging.getLogger("postroom.bouncing")

UNMATCHED = "unmatched"
UNVERIFIED = "unverified"
_STATUS_IN_TEXT = re.compile(r"(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])")
_NOTED_AS = {
    Action.DELAYED: EventKind.DELAYED,
    Action.DELIVERED: EventKind.DELIVERED,
    Action.RELAYED: EventKind.RELAYED,
    Action.EXPANDED: EventKind.DELIVERED,
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a report led to: the answer at the door, what it did (a stable id), the first message meant."""

    reply: Reply
    reason: str
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """What is said about one Email, and how it was found (token, copy, message_id)."""

    email: Email
    attempt: int | None
    found_by: str
    action: Action
    recipient: str
    status: EnhancedStatus | None
    text: str


def take_report(
    report: DeliveryReport | None,
    token: ReturnPathToken | None,
    *,
    workspace: Workspace,
    text: str = "",
    is_credible: bool = False,
) -> Taken:
    """Fail what a report says has failed, note all else; call it inside the transaction of the receipt.

    The Email is found by our signed return path, then by the mark in the embedded copy, then by Message-ID
    and recipient; a report that fits none changes nothing. `report` None: an old-fashioned bounce, whose
    `text` is the reason. Message-ID and recipient are known to everybody who got the mail: unless
    `is_credible` they are noted and fail nothing. The reply is 4yz only if the attempt is not written yet:
    the report comes again.
    """
    if report is None:
        found = _old_fashioned(token, text, workspace)
    else:
        signed = _by_token(report, token, workspace) or _by_copy(report, workspace)
        found = signed or _by_id(report, workspace)
    if not found:
        log.info("A delivery report fits no email of workspace %s", workspace.slug)
        return Taken(replies.REPORT_UNMATCHED, UNMATCHED)
    verdicts = [_act_on(told, workspace, is_credible=is_credible) for told in found]
    if BounceVerdict.TOO_EARLY in verdicts:
        return Taken(replies.TROUBLE, BounceVerdict.TOO_EARLY)
    return Taken(replies.REPORT_TAKEN, verdicts[0], found[0].email.message)


def _old_fashioned(token: ReturnPathToken | None, text: str, workspace: Workspace) -> list[_Told]:
    email = _email(workspace, token.email_id) if token else None
    if token is None or email is None:
        return []
    named = _STATUS_IN_TEXT.search(text)
    status = EnhancedStatus.parse(named[0]) if named else None
    words = " ".join(text.split())[:500]
    return [_Told(email, token.attempt, "token", Action.FAILED, email.address.addr_spec, status, words)]


def _by_token(report: DeliveryReport, token: ReturnPathToken | None, workspace: Workspace) -> list[_Told]:
    email = _email(workspace, token.email_id) if token else None
    if token is None or email is None:
        return []
    block = _block_about(email, report)
    return [_told(email, token.attempt, "token", block, report)] if block else []


def _by_copy(report: DeliveryReport, workspace: Workspace) -> list[_Told]:
    mark = report.original_copy_mark
    email_id = tokens.signer(workspace.pk).recognise_copy(mark) if mark else None
    email = _email(workspace, email_id) if email_id is not None else None
    block = _block_about(email, report) if email else None
    return [_told(email, None, "copy", block, report)] if email and block else []


def _by_id(report: DeliveryReport, workspace: Workspace) -> list[_Told]:
    """Every recipient block that names somebody the message was really sent to."""
    if not report.original_message_id:
        return []
    messages = Message.objects.filter(workspace=workspace, message_id=report.original_message_id)
    found = [(block, _email_to(messages.first(), block)) for block in report.recipients]
    return [_told(email, None, "message_id", block, report) for block, email in found if email]


def _email(workspace: Workspace, email_id: int) -> Email | None:
    locked = Email.objects.select_for_update(of=("self",)).filter(workspace_id=workspace.pk)
    return locked.select_related("address", "message").filter(pk=email_id).first()


def _email_to(message: Message | None, block: RecipientReport) -> Email | None:
    if message is None:
        return None
    emails = Email.objects.select_for_update(of=("self",)).filter(message=message)
    return emails.select_related("address", "message").filter(address__addr_spec__in=_named_by(block)).first()


def _block_about(email: Email, report: DeliveryReport) -> RecipientReport | None:
    """The block that names the Email's address; else the first failure; else the first block."""
    named = [block for block in report.recipients if email.address.addr_spec in _named_by(block)]
    failed = [block for block in report.recipients if block.action is Action.FAILED]
    return next(iter(named or failed or report.recipients), None)


def _told(
    email: Email, attempt: int | None, found_by: str, block: RecipientReport, report: DeliveryReport
) -> _Told:
    recipient = _normal(block.original_recipient) or _normal(block.final_recipient)
    words = _words(block) or " ".join(report.text.split())[:500]
    return _Told(email, attempt, found_by, block.action or _by_status(block), recipient, block.status, words)


def _by_status(block: RecipientReport) -> Action:
    """A block without an action it should have: only a permanent status counts as a failure."""
    return Action.FAILED if block.status is not None and block.status.klass == 5 else Action.DELAYED


def _words(block: RecipientReport) -> str:
    """The remote server's own words, with the codes it gave."""
    if block.diagnostic is not None and block.diagnostic.code:
        return str(block.diagnostic)
    return " ".join(str(part) for part in (block.status, block.diagnostic_text) if part)


def _named_by(block: RecipientReport) -> set[str]:
    return {_normal(block.original_recipient), _normal(block.final_recipient)} - {""}


def _normal(text: str | None) -> str:
    try:
        return normalise(text) if text else ""
    except AddressError:
        return ""


def _act_on(told: _Told, workspace: Workspace, *, is_credible: bool) -> str:
    if told.action is not Action.FAILED:
        _note(_NOTED_AS[told.action], told, workspace)
        return str(told.action)
    if told.found_by == "message_id" and not is_credible:
        log.warning("Nobody vouches for a delivery report on email %s: nothing changed", told.email.pk)
        _note(EventKind.UNVERIFIED_BOUNCE, told, workspace)
        return UNVERIFIED
    verdict = _fail(told)
    if verdict is BounceVerdict.OUTDATED:
        _note(EventKind.OUTDATED_BOUNCE, told, workspace)
    elif verdict is BounceVerdict.FAILED:
        _note(EventKind.BOUNCED, told, workspace)
        tell_failures([told.email.message])
    return verdict


def _fail(told: _Told) -> BounceVerdict:
    if told.attempt is None and told.email.attempt_count > 1:  # the report may speak of an earlier attempt
        return BounceVerdict.OUTDATED
    return bounce(
        told.email,
        attempt=told.attempt,
        recipient=told.recipient,
        text=told.text,
        is_hard=told.status is None or told.status.klass == 5,
    )


def _note(kind: EventKind, told: _Told, workspace: Workspace) -> None:
    events.note(
        kind,
        workspace=workspace,
        message=told.email.message,
        contact=told.email.contact,
        email_id=told.email.pk,
        action=str(told.action),
        status=str(told.status or ""),
        text=told.text,
        recipient=told.recipient,
        found_by=told.found_by,
        attempt=told.attempt,
    )
