"""What requests carry, and pages of what is shown. Single things are shown as in `flows.shapes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ninja import Schema
from pydantic import AwareDatetime, ConfigDict, Field, field_validator

from postroom.flows.shapes import EmailShape, MessageShape, ReceivedShape, RecordShape, ScheduledShape


class Asked(Schema):
    """The body of a request; a field that nobody knows is refused, so that a typing error is not lost.

    So is NUL in any text: no table takes it.
    """

    model_config = ConfigDict(extra="forbid")

    @field_validator("*")
    @classmethod
    def refuse_nul(cls, value: Any) -> Any:
        """Raises ValueError, which names the field."""
        if _has_nul(value):
            raise ValueError("There is a NUL character in it. Send it without.")
        return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, dict):
        return _has_nul([*value, *value.values()])
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


class RecordToPut(Asked):
    """A record as the application knows it. `followers` are added to those who follow already."""

    title: str = Field(min_length=1, max_length=300)
    url: str = Field("", max_length=2000, pattern=r"^$|^https?://")
    responsible: str = Field("", description="Address of a member.")
    followers: list[str] = Field(default_factory=list, max_length=1000, description="Addresses.")


class AttachmentToPost(Asked):
    """A file, its octets in base64."""

    name: str = Field(min_length=1, max_length=200)
    content_type: str = Field("application/octet-stream", max_length=127)
    content: str = Field(description="Base64.")


class MessageToPost(Asked):
    """What is said. Give `html` or `text`."""

    html: str = Field("", max_length=2_000_000)
    text: str = Field("", max_length=2_000_000)
    subject: str = Field("", max_length=900)
    note: bool = Field(False, description="An internal note: only members are told.")
    to: list[str] = Field(
        default_factory=list, max_length=1000, description="Addresses to tell besides the followers."
    )
    author: str = Field("", description="Address of a known contact; left out: the member of the key.")
    stream: Literal["urgent", "bulk"] | None = None
    attachments: list[AttachmentToPost] = Field(default_factory=list, max_length=50)
    confirm_outsiders: bool = Field(False, description="Outsiders named may read this note.")
    post_at: AwareDatetime | None = Field(
        None, description="Say it then; the answer is 202 with a scheduled message."
    )
    send_at: AwareDatetime | None = Field(
        None, description="Post it now; its emails, and only they, leave then."
    )


class EmailsToMove(Asked):
    """When the emails of a message leave; null, or a time that has passed, is at once."""

    send_at: AwareDatetime | None


class RawToSubmit(Asked):
    """A ready-made mail with its envelope."""

    raw: str = Field(min_length=1, description="The mail (RFC 5322) in base64.")
    reverse_path: str = Field("", description="Left out: bounces come back to Postroom.")
    recipients: list[str] = Field(min_length=1, max_length=1000)
    record: str = Field("", description="model/external_id of a record it belongs to.")
    stream: Literal["urgent", "bulk"] = "urgent"


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records, newest first; `next_cursor` is None on the last page."""

    data: list[RecordShape]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, newest first; `next_cursor` is None on the last page."""

    data: list[MessageShape]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ScheduledPage:
    """What is said later, the newest first; `next_cursor` is None on the last page."""

    data: list[ScheduledShape]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EmailPage:
    """Emails, newest first; `next_cursor` is None on the last page."""

    data: list[EmailShape]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReceivedPage:
    """The incoming log, newest first; `next_cursor` is None on the last page."""

    data: list[ReceivedShape]
    next_cursor: str | None
