"""Notes what was decided where no other row tells it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from postroom.conversations.models import Contact, Message, Record
from postroom.diagnostics import mail_log
from postroom.diagnostics.log_lines import MessageId, Own, Person
from postroom.diagnostics.models import Event
from postroom.workspaces.models import Member, Workspace


class EventKind(StrEnum):
    """What an Event tells. `detail` holds what is named in brackets."""

    NOT_TOLD = "not_told"  # [reason] one per contact who was a candidate and was passed over
    ROUTE = "route.chosen"  # [server, rule, wanted_from, from, why, return_path, return_domain, is_warning]
    STAND_IN = "server.stand_in"  # [home, via, why] a workspace's: another server carries what waits for one
    CAPTURED = "email.captured"  # [count, mode, level] grouped per message
    SCHEDULED = "message.scheduled"  # [written_at] it was written earlier, to be posted when it was
    MOVED = "emails.moved"  # [before, after] by a member; its emails leave at another time ("": at once)
    CAPTURE_ON = "capture.on"  # [mode, to, allowed] by a member; of the workspace or of the installation
    CAPTURE_OFF = "capture.off"  # by a member
    RETRIED = "email.retried"  # by a member
    SENT_NOW = "email.sent_now"  # by a member
    CORRECTED = "email.corrected"  # [before, after] the address of one Email
    IGNORED = "email.ignored"  # by a member
    CANCELLED = "email.cancelled"  # by a member
    BOUNCED = "email.bounced"  # [received, action, status, text, recipient, found_by]
    DELAYED = "report.delayed"  # the same
    DELIVERED = "report.delivered"  # the same
    RELAYED = "report.relayed"  # the same
    OUTDATED_BOUNCE = "report.outdated"  # the same: it speaks of an earlier attempt or another address
    UNVERIFIED_BOUNCE = "report.unverified"  # the same: anybody could have written it, nothing changed
    UNVERIFIED_AUTHOR = (
        "mail.unverified"  # [received, claimed] written from one of our own domains, from outside
    )
    FOLLOWED = "follower.added"  # by a member, or by taking part
    NOT_FOLLOWING = (
        "follower.not_added"  # [received, claimed, why] wrote in, but was never told of the record
    )
    FOLLOWS_OTHERWISE = "follower.changed"  # other subtypes
    UNFOLLOWED = "follower.removed"  # by a member
    INVITED = "member.invited"  # [role] by a member
    DEACTIVATED = "member.deactivated"  # by a member
    LIMIT_SET = "limit.set"  # [before, after] by an operator: plan and figure
    LIMIT_ASKED = "limit.asked"  # [wanted, text] by a member
    LIMIT_WITHDRAWN = "limit.withdrawn"  # [wanted] by an administrator, before it was decided
    LIMIT_GRANTED = "limit.granted"  # [wanted, granted] by an operator
    LIMIT_DECLINED = "limit.declined"  # [wanted, granted] by an operator
    ACTION_CHANGED = "action.changed"  # [key, before, after] of a scheduled action, by a member
    ACTION_RUN = "action.run"  # [key] by a member
    ACTION_GIVEN_UP = "action.given_up"  # [key, error] failures switched it off
    AUTOMATIC_REPLY = "mail.automatic"  # [received, why] posted as a note, nobody told


def note(
    kind: str,
    *,
    workspace: Workspace,
    message: Message | None = None,
    record: Record | None = None,
    contact: Contact | None = None,
    email_id: int | None = None,
    member: Member | None = None,
    said_by: Own | Person | None = None,
    **detail: Any,
) -> Event:
    """Add one Event in the transaction of the flow that calls; once committed it is a line of the log, too.

    `detail` is stored as JSON. `said_by` is who the line names instead of `member`.
    """
    event = Event.objects.create(
        kind=str(kind),
        workspace=workspace,
        message=message,
        record=record,
        contact=contact,
        email_id=email_id,
        member=member,
        detail=detail,
    )
    if mail_log.is_open() and kind not in _TOLD_OTHERWISE:
        mail_log.told(str(kind), *_fields(event, said_by), *_details(detail), is_warning=kind in _WARNINGS)
    return event


COMMAND = Own("command")  # who did it, where a command on a shell did
_TOLD_OTHERWISE = {EventKind.CAPTURED, EventKind.NOT_TOLD}  # a line of each Email, and none
_WARNINGS = {EventKind.BOUNCED, EventKind.STAND_IN}
_FIELDS_OF_ALL = ("timestamp", "level", "event", "message", "workspace", "record", "email", "contact", "by")


def told_as(member: Member | None) -> Own | Person:
    """Who a line names: the member, or "command" if a command on a shell acts in somebody's name."""
    if member is not None and member.is_command:
        return COMMAND
    return Person(member.user.email if member else "")


def _fields(event: Event, by: Own | Person | None) -> list[tuple[str, Any]]:
    return [
        ("message", MessageId(event.message.message_id if event.message else "")),
        ("workspace", Own(event.workspace.slug)),
        ("record", event.record.key if event.record else ""),
        ("email", event.email_id),
        ("contact", event.contact_id),
        ("by", by or told_as(event.member)),
    ]


def _details(detail: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"its_{name}" if name in _FIELDS_OF_ALL else name, _plain(value)) for name, value in detail.items()
    ]


def _plain(value: Any) -> Any:
    """`interval 60, unit minutes` instead of what Python writes."""
    is_dict = isinstance(value, dict)
    return ", ".join(f"{name} {each}" for name, each in value.items()) if is_dict else value
