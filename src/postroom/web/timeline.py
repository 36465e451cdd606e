"""A record's conversation as it is read: days, who speaks, what became of each message's mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from postroom.conversations.models import Message, Record
from postroom.outgoing.delivery_icon import UNTOUCHED, ByCapture, DeliveryIcon, by_capture, icon_for
from postroom.outgoing.models import Tally
from postroom.web.paging import newest_first
from postroom.workspaces.models import Member

TOGETHER = timedelta(minutes=5)
SIZE = 30


@dataclass(frozen=True, slots=True)
class Entry:
    """One message; `day` is set on the first of a day, `is_continued`: drawn without its header.

    `leaves_at` is when its emails leave, as long as that lies ahead and some wait for it.
    """

    message: Message
    icon: DeliveryIcon
    day: date | None
    is_continued: bool
    leaves_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Some messages, oldest first; `before` leads to earlier ones (None: these are the first)."""

    entries: list[Entry]
    before: int | None

    @property
    def messages(self) -> list[Message]:
        """What is on the screen."""
        return [entry.message for entry in self.entries]


def timeline(record: Record, member: Member, before: str | None) -> Timeline:
    """The newest messages of a record, or those before an id."""
    found = newest_first(shown(Message.objects.filter(record=record), member), before, SIZE)
    return Timeline(entries_of(list(reversed(found.rows))), found.before)


def shown(rows: QuerySet[Message], member: Member) -> QuerySet[Message]:
    """Messages with all that an entry shows, in a fixed number of queries."""
    own = rows.filter(workspace_id=member.workspace_id)
    return own.select_related(
        "author__address", "author__member", "subtype", "tally", "record"
    ).prefetch_related("attachments")


def entries_of(messages: Sequence[Message]) -> list[Entry]:
    """Messages in the order they were said, as entries."""
    entries, previous = [], None
    done = _by_capture(messages)
    for message in messages:
        entries.append(_entry(message, previous, done.get(message.pk, UNTOUCHED)))
        previous = message
    return entries


def delivery_icon(message: Message) -> DeliveryIcon:
    """The envelope of a message."""
    return _icon(message, _by_capture([message]).get(message.pk, UNTOUCHED))


def _by_capture(messages: Sequence[Message]) -> dict[int, ByCapture]:
    """Asked only of messages of which something was sent or cancelled."""
    tallies = [message.tally for message in messages if hasattr(message, "tally")]
    ended = [tally.pk for tally in tallies if tally.sent_count or tally.cancelled_count]
    return by_capture(messages[0].workspace_id, ended) if ended else {}


def _icon(message: Message, done: ByCapture) -> DeliveryIcon:
    tally = getattr(message, "tally", None)
    return icon_for(tally if tally is not None else Tally(message=message), done)


def _entry(message: Message, previous: Message | None, done: ByCapture) -> Entry:
    day = timezone.localdate(message.created_at)
    is_new_day = previous is None or timezone.localdate(previous.created_at) != day
    return Entry(
        message,
        _icon(message, done),
        day if is_new_day else None,
        previous is not None and not is_new_day and _belong_together(previous, message),
        _leaves_at(message),
    )


def _leaves_at(message: Message) -> datetime | None:
    if message.send_at is None or message.send_at <= timezone.now():
        return None
    tally = getattr(message, "tally", None)
    return message.send_at if tally is not None and tally.outgoing_count else None


def _belong_together(first: Message, second: Message) -> bool:
    same = (first.author_id, first.author_name, first.is_internal, first.kind) == (
        second.author_id,
        second.author_name,
        second.is_internal,
        second.kind,
    )
    return same and second.created_at - first.created_at < TOGETHER
