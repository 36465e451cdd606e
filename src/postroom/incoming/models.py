"""What came in, and what was refused at the door."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from postroom.conversations.models import Message, Record
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Member, Workspace


class SpooledMail(models.Model):
    """The raw octets of a received mail, committed with its row; moved to the storage afterwards.

    `octets` is None once they lie in the storage under `storage_name`.
    """

    classified = Classified(
        kept=Kept.UNTIL_REFERENCED_NO_MORE,
        plain=("id", "workspace", "digest", "size", "created_at"),
        content=("octets",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    octets = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=Q(octets__isnull=False), name="spooled_in_table"),
            models.Index(fields=["workspace", "digest"], name="spooled_by_digest"),
        ]

    def __str__(self) -> str:
        return self.digest

    @property
    def storage_name(self) -> str:
        """Where the octets lie in the storage once they have left the table."""
        return f"{self.workspace_id}/{self.digest[:2]}/{self.digest}.eml"


class ReceivedState(models.TextChoices):
    """What has become of a received mail."""

    STORED = "stored", _("Received, about to be posted")
    POSTED = "posted", _("Posted")
    DUPLICATE = "duplicate", _("Already received")
    BOUNCE = "bounce", _("Delivery report")
    REFUSED = "refused", _("Refused")
    SET_ASIDE = "set_aside", _("Could not be read, set aside")


class ReceivedEmailQuerySet(models.QuerySet["ReceivedEmail"]):
    """The incoming log."""

    def for_member(self, member: Member) -> ReceivedEmailQuerySet:
        """What a member may see: their workspace's; an operator also what belongs to none."""
        own = Q(workspace_id=member.workspace_id)
        return self.filter(own | Q(workspace=None) if member.is_operator else own)


class ReceivedEmail(models.Model):
    """One line of the incoming log: a mail to one target, or a refusal.

    `identity` is the same for the same mail however often it comes (Message-ID, From, Date, Subject and
    body; `wire.identity` says what stands in for them); with `target` (what it leads to) it is unique among
    what was taken, so nothing is posted twice.
    `route` is what routing decided, kept so that posting can be done, or done again, after the 250; its
    "troubles" counts how often the disk or the database kept it from being posted.
    """

    classified = Classified(
        kept=Kept.LIMITED,
        plain=(
            "id", "workspace", "received_at", "source", "message_id_header", "size", "identity",
            "target", "route", "state",
            "reason", "reply_code", "record", "message", "spooled", "lease", "leased_until", "attempt_count",
        ),
        personal=("peer", "helo", "reverse_path", "forward_path", "from_header"),
        content=("subject", "reply_text"),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="received")
    received_at = models.DateTimeField(db_default=Now())
    source = models.CharField(max_length=10)
    peer = models.CharField(max_length=64, blank=True)
    helo = models.CharField(max_length=255, blank=True)
    reverse_path = models.CharField(max_length=320, blank=True)
    forward_path = models.CharField(max_length=320, blank=True)
    from_header = models.CharField(max_length=400, blank=True)
    subject = models.CharField(max_length=998, blank=True)
    message_id_header = models.CharField(max_length=998, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    identity = models.CharField(max_length=64, blank=True)
    target = models.CharField(max_length=60, blank=True)
    route = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=ReceivedState.choices)
    reason = models.CharField(max_length=40, blank=True)
    reply_code = models.PositiveSmallIntegerField(null=True)
    reply_text = models.CharField(max_length=500, blank=True)
    record = models.ForeignKey(Record, models.SET_NULL, null=True, related_name="received")
    message = models.ForeignKey(Message, models.SET_NULL, null=True, related_name="received")
    spooled = models.ForeignKey(SpooledMail, models.PROTECT, null=True, related_name="received")
    lease = models.CharField(max_length=32, blank=True, db_default="", default="")
    leased_until = models.DateTimeField(null=True)
    attempt_count = models.PositiveSmallIntegerField(db_default=0, default=0)

    objects: ClassVar[models.Manager[ReceivedEmail]] = ReceivedEmailQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "identity", "target"],
                condition=Q(state__in=["stored", "posted", "bounce", "set_aside"]),
                name="received_once_per_target",
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="received_newest"),
            models.Index(fields=["id"], condition=Q(state="stored"), name="received_to_post"),
            models.Index(fields=["workspace", "from_header", "received_at"], name="received_of_author"),
        ]

    def __str__(self) -> str:
        return f"{self.reverse_path} → {self.forward_path}"
