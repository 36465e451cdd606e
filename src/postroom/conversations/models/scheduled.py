"""What somebody wants to say later."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from postroom.conversations.models.addresses import Contact
from postroom.conversations.models.messages import Message
from postroom.conversations.models.records import Record, Stream
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Member, Workspace


class ScheduledMessageQuerySet(models.QuerySet["ScheduledMessage"]):
    """Scheduled messages of a workspace."""

    def for_member(self, member: Member) -> ScheduledMessageQuerySet:
        """Those a member may see: all of the workspace, but not what others may still, or did, take back."""
        unsaid = models.Q(is_undo_window=True, state__in=("waiting", "cancelled"))
        return self.filter(workspace_id=member.workspace_id).exclude(unsaid & ~models.Q(member=member))

    def open(self) -> ScheduledMessageQuerySet:
        """Those that somebody may still act on: they wait, or could not be posted."""
        return self.filter(state__in=("waiting", "failed"))

    def taken_back(self) -> ScheduledMessageQuerySet:
        """Those whose writer pressed Undo: never said, and kept for that writer alone."""
        return self.filter(state="cancelled", is_undo_window=True)

    def waiting(self) -> ScheduledMessageQuerySet:
        """Those that will be posted."""
        return self.filter(state="waiting")


class ScheduledMessage(models.Model):
    """Something that is said at `post_at`, in the name of the member who wrote it.

    Until then it may be changed, moved to another time or called off. `author` is whom it is said as (None: a
    contact that is no more); `record` None is one that is no more. `named` are ids of contacts; `files` are
    `conversations.storage.StoredFile` as dicts, whose octets already lie in the storage. `is_undo_window`
    says that it only waits so that its author can take it back, and nobody else sees it; `send_at` is when
    its emails leave (None: at once).
    """

    class State(models.TextChoices):
        """What became of it."""

        WAITING = "waiting", _("Scheduled")
        POSTED = "posted", _("Posted")
        FAILED = "failed", _("Could not be posted")
        CANCELLED = "cancelled", _("Cancelled")

    classified = Classified(
        kept=Kept.WITH_RECORD,
        plain=(
            "id", "workspace", "record", "member", "author", "subtype_key", "stream", "named",
            "are_outsiders_confirmed", "is_undo_window", "post_at", "send_at", "state", "message",
            "created_at",
        ),
        content=("subject", "body", "text", "files", "failure_text"),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="scheduled_messages")
    record = models.ForeignKey(Record, models.SET_NULL, null=True, related_name="scheduled_messages")
    member = models.ForeignKey(Member, models.CASCADE, related_name="scheduled_messages")
    author = models.ForeignKey(Contact, models.SET_NULL, null=True, related_name="+")
    subject = models.CharField(max_length=998, blank=True)
    body = models.TextField(blank=True)
    text = models.TextField(blank=True)
    subtype_key = models.CharField(max_length=40)
    stream = models.CharField(max_length=6, choices=Stream.choices, blank=True)
    named = models.JSONField(default=list)
    files = models.JSONField(default=list)
    are_outsiders_confirmed = models.BooleanField(default=False)
    is_undo_window = models.BooleanField(default=False)
    post_at = models.DateTimeField()
    send_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.WAITING)
    failure_text = models.TextField(blank=True)
    message = models.ForeignKey(Message, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[ScheduledMessageQuerySet] = ScheduledMessageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        indexes = [
            models.Index(
                fields=["post_at", "id"], condition=models.Q(state="waiting"), name="scheduled_waiting"
            ),
            models.Index(
                fields=["record", "post_at"], condition=models.Q(state="waiting"), name="scheduled_in_record"
            ),
        ]

    def __str__(self) -> str:
        return self.subject or " ".join(self.text.split())[:60]

    @property
    def is_open(self) -> bool:
        """May somebody still act on it?"""
        return self.state in (self.State.WAITING, self.State.FAILED)
