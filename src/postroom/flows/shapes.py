"""What programs are shown: the same shapes on the command line (`--json`) and in the API.

Ids carry what they name (`rec_`, `msg_`, `em_`, `in_`, `key_`); times are aware and in UTC; None means
that there is no such thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DeliveryState = Literal["none", "waiting", "failed", "sent", "cancelled"]


@dataclass(frozen=True, slots=True)
class PersonShape:
    """Somebody: `address` is None if the contact has none."""

    name: str
    address: str | None
    is_member: bool


@dataclass(frozen=True, slots=True)
class RecordShape:
    """A record with who follows it."""

    id: str
    model: str
    external_id: str
    title: str
    url: str | None
    page: str
    responsible: PersonShape | None
    followers: list[PersonShape]
    created_at: datetime
    last_message_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptShape:
    """One mail transaction with the server's answer; `code` is None if there was none."""

    number: int
    at: datetime
    address: str
    server: str
    outcome: str
    code: int | None
    enhanced: str | None
    text: str
    seconds: float
    is_tls: bool
    is_unverified: bool


@dataclass(frozen=True, slots=True)
class EmailShape:
    """One message to one recipient. `due_at`, `held_*` and `expected_at` are None unless it is Outgoing.

    `expected_at` is about when it leaves, by its place in the queue, the limit that holds it and when that
    starts again; None if nobody can say. `held_reason` says in words why it is held, with the limit's figure.
    `redirected_to` is who got it in the recipient's place (capture mode). `waits_for` is the key of the
    scheduled action that lets bulk mail go, and `waits_reason` says it in words; None if it needs none.
    `in_hand_until`: a worker has it in hand, and if that one is lost, it is settled then; None: nobody.
    """

    id: str
    message: str
    address: str
    name: str
    state: str
    failure_kind: str | None
    failure_text: str | None
    cancelled_because: str | None
    redirected_to: str | None
    due_at: datetime | None
    held_until: datetime | None
    held_because: str | None
    held_reason: str | None
    expected_at: datetime | None
    waits_for: str | None
    waits_reason: str | None
    in_hand_until: datetime | None
    attempt_count: int
    sent_at: datetime | None
    bounced_at: datetime | None
    ignored_at: datetime | None
    why_told: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EmailWithAttemptsShape:
    """An email and every attempt to deliver it, oldest first."""

    email: EmailShape
    attempts: list[AttemptShape]


@dataclass(frozen=True, slots=True)
class DeliveryShape:
    """How many recipients are where; the counts but `total` add up to it."""

    state: DeliveryState
    total: int
    outgoing: int
    sent: int
    failed: int
    ignored: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class FileShape:
    """An attached file."""

    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class MessageShape:
    """What was said, to whom it went and how that is going; `send_at` None: its emails leave at once."""

    id: str
    record: str | None
    author: PersonShape | None
    kind: str
    is_note: bool
    stream: str
    subject: str
    html: str
    text: str
    message_id: str
    created_at: datetime
    send_at: datetime | None
    attachments: list[FileShape]
    delivery: DeliveryShape
    recipients: list[EmailShape]


@dataclass(frozen=True, slots=True)
class ScheduledShape:
    """Something that is said at `post_at`; its emails leave at `send_at` (None: at once).

    `state` is waiting, posted (then `message` names it), failed (`failure_text` says why) or cancelled. `to`
    are addresses told besides the followers.
    """

    id: str
    record: str | None
    author: PersonShape | None
    state: str
    failure_text: str | None
    post_at: datetime
    send_at: datetime | None
    is_note: bool
    stream: str | None
    subject: str
    html: str
    text: str
    to: list[str]
    attachments: list[FileShape]
    message: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReceivedShape:
    """One line of the incoming log."""

    id: str
    received_at: datetime
    source: str
    reverse_path: str
    forward_path: str
    subject: str
    message_id: str
    state: str
    reason: str | None
    reply_code: int | None
    reply_text: str | None
    record: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class WorkspaceShape:
    """A workspace; `time_zone` is the IANA name of the zone by whose clock it lives."""

    slug: str
    name: str
    mail_domains: list[str]
    is_capturing: bool
    created_at: datetime
    time_zone: str


@dataclass(frozen=True, slots=True)
class MemberShape:
    """Somebody who logs in."""

    address: str
    name: str
    role: str
    language: str
    channel: str
    is_active: bool
    has_placeholder_address: bool
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class KeyShape:
    """An API key; the key itself is shown only once, when it is made."""

    id: str
    name: str
    prefix: str
    member: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
