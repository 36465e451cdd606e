"""What was said, what hangs on it, and who is told inside Postroom."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from postroom.conversations.models.addresses import Contact
from postroom.conversations.models.records import Record, Stream, Subtype
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Member, Workspace

#: For so long what a member has read in Postroom is kept; then nothing says any more that they were told.
READ_KEPT = timedelta(days=180)


class MessageQuerySet(models.QuerySet["Message"]):
    """Messages of a workspace."""

    def for_member(self, member: Member) -> MessageQuerySet:
        """Those a member may see: all of the workspace."""
        return self.filter(workspace_id=member.workspace_id)


class Kind(models.TextChoices):
    """How a message came about."""

    COMMENT = "comment", _("Written here")
    EMAIL = "email", _("By email")
    NOTIFICATION = "notification", _("System")
    SUBMISSION = "submission", _("Sent by a program")


class Message(models.Model):
    """Something said, on a record or on none. It lasts; what was mailed of it are its Emails.

    `send_at` is when its Emails were asked to leave (None: at once).
    """

    classified = Classified(
        kept=Kept.WITH_RECORD,
        plain=(
            "id", "workspace", "record", "author", "kind", "subtype", "stream", "parent", "message_id",
            "is_auto_deleted", "send_at", "created_at",
        ),
        personal=("author_name",),
        content=("subject", "body", "text"),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="messages")
    record = models.ForeignKey(Record, models.CASCADE, null=True, related_name="messages")
    author = models.ForeignKey(Contact, models.SET_NULL, null=True, related_name="messages")
    author_name = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.COMMENT)
    subtype = models.ForeignKey(Subtype, models.PROTECT, null=True, related_name="messages")
    stream = models.CharField(max_length=6, choices=Stream.choices, default=Stream.URGENT)
    subject = models.CharField(max_length=998, blank=True)
    body = models.TextField(blank=True)
    text = models.TextField(blank=True)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")
    message_id = models.CharField(max_length=998)
    is_auto_deleted = models.BooleanField(default=True)
    send_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    objects: ClassVar[models.Manager[Message]] = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["workspace", "message_id"], name="message_by_message_id"),
            models.Index(fields=["record", "id"], name="message_in_record"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        """What lists call it: its subject, else its record's title, else words that say there is none."""
        return self.subject or (self.record.title if self.record else "") or str(_("(no subject)"))

    @property
    def is_internal(self) -> bool:
        """Is it meant for members only?"""
        return self.subtype is not None and self.subtype.is_internal

    @property
    def preview(self) -> str:
        """The first words (190 characters at most), for lists."""
        words = " ".join(self.text.split())
        return words if len(words) <= 190 else f"{words[:189]}…"


class MessageIdAlias(models.Model):
    """Another Message-ID a message is known by: relays rewrite them."""

    classified = Classified(kept=Kept.WITH_MESSAGE, plain=("id", "workspace", "message", "alias"))
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    message = models.ForeignKey(Message, models.CASCADE, related_name="id_aliases")
    alias = models.CharField(max_length=998)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "alias"], name="message_id_alias_once")]

    def __str__(self) -> str:
        return self.alias


class Attachment(models.Model):
    """A file of a message; its octets lie in the storage under workspace and digest, once."""

    classified = Classified(
        kept=Kept.WITH_MESSAGE,
        plain=("id", "workspace", "message", "content_type", "size", "digest", "content_id"),
        content=("name",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    message = models.ForeignKey(Message, models.CASCADE, related_name="attachments")
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=127)
    size = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    content_id = models.CharField(max_length=255, blank=True)

    class Meta:
        indexes = [models.Index(fields=["workspace", "digest"], name="attachment_by_digest")]

    def __str__(self) -> str:
        return self.name

    @property
    def storage_name(self) -> str:
        """Where its octets lie in the storage."""
        return f"{self.workspace_id}/{self.digest[:2]}/{self.digest}"


class UnusedFile(models.Model):
    """A file in the storage that nothing referred to at `noted_at`.

    It is removed if that is still so a day later; whoever stores the same octets takes the note away first.
    """

    classified = Classified(kept=Kept.LIMITED, plain=("id", "workspace", "name", "noted_at"))
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    name = models.CharField(max_length=200, unique=True)
    noted_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """Something a member is told inside Postroom: a message, a failure of theirs, a notice."""

    class Kind(models.TextChoices):
        """What the member is told about."""

        MESSAGE = "message", _("Message")
        FAILURE = "failure", _("Delivery failure")
        NOTICE = "notice", _("Notice")

    classified = Classified(
        kept=Kept.LIMITED,
        plain=(
            "id", "workspace", "member", "message", "scheduled", "kind", "reason", "count", "created_at",
            "read_at",
        ),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    member = models.ForeignKey(Member, models.CASCADE, related_name="notifications")
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="notifications")
    scheduled = models.ForeignKey("ScheduledMessage", models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    reason = models.CharField(max_length=20, blank=True, db_default="")
    count = models.PositiveIntegerField(db_default=1, default=1)
    created_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["member", "message", "kind"], name="notification_once_per_kind")
        ]
        indexes = [
            models.Index(
                fields=["member", "-id"], condition=models.Q(read_at=None), name="notification_unread"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} → {self.member}"
