"""What is talked about, who follows it, and the addresses that lead to it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from postroom.conversations.models.addresses import Contact
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import MailDomain, Member, Workspace


class RecordQuerySet(models.QuerySet["Record"]):
    """Records of a workspace."""

    def for_member(self, member: Member) -> RecordQuerySet:
        """Those a member may see: all of the workspace."""
        return self.filter(workspace_id=member.workspace_id)


class Record(models.Model):
    """A business record of the host application that has a conversation: an order, a ticket, an invoice."""

    classified = Classified(
        kept=Kept.WITH_RECORD,
        plain=(
            "id", "workspace", "model", "external_id", "url", "responsible", "reply_address_revoked_at",
            "created_at", "last_message_at",
        ),
        content=("title",),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="records")
    model = models.CharField(max_length=80)
    external_id = models.CharField(max_length=120)
    title = models.CharField(max_length=300)
    url = models.URLField(max_length=2000, blank=True)
    responsible = models.ForeignKey(Member, models.SET_NULL, null=True, related_name="responsible_for")
    reply_address_revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    last_message_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager[Record]] = RecordQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "model", "external_id"], name="record_once")
        ]
        indexes = [models.Index(fields=["workspace", "-last_message_at", "-id"], name="record_newest")]

    def __str__(self) -> str:
        return self.title

    @property
    def key(self) -> str:
        """How people and programs name it: model/external id."""
        return f"{self.model}/{self.external_id}"


class Stream(models.TextChoices):
    """How soon a message leaves: at once, or with the bulk."""

    URGENT = "urgent", _("Urgent")
    BULK = "bulk", _("Bulk")


class Subtype(models.Model):
    """What kind of thing is said. Internal ones reach members only; default ones are followed by default."""

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=("id", "workspace", "key", "name", "is_internal", "is_default", "stream", "sequence"),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="subtypes")
    key = models.CharField(max_length=40)
    name = models.CharField(max_length=80)
    is_internal = models.BooleanField(default=False)
    is_default = models.BooleanField(default=False)
    stream = models.CharField(max_length=6, choices=Stream.choices, default=Stream.URGENT)
    sequence = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "key"], name="subtype_once")]
        ordering = ["sequence", "id"]

    def __str__(self) -> str:
        return self.name


class Follower(models.Model):
    """A contact who is told what is said on a record, for the subtypes chosen."""

    classified = Classified(
        kept=Kept.WITH_RECORD, plain=("id", "workspace", "record", "contact", "subtypes", "since_at")
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    record = models.ForeignKey(Record, models.CASCADE, related_name="followers")
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="follows")
    subtypes = models.ManyToManyField(Subtype, related_name="followers")
    since_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["record", "contact"], name="follower_once")]

    def __str__(self) -> str:
        return f"{self.contact} → {self.record}"


class Policy(models.TextChoices):
    """Who may write to an alias."""

    EVERYONE = "everyone", _("Everyone")
    PARTNERS = "partners", _("Known contacts")
    FOLLOWERS = "followers", _("Followers only")
    MEMBERS = "members", _("Members only")


class AliasStatus(models.TextChoices):
    """What the last mail to an alias showed."""

    NOT_TESTED = "not_tested", _("Not tested")
    VALID = "valid", _("Valid")
    INVALID = "invalid", _("Invalid")


class Alias(models.Model):
    """An address that opens a new record of a model, or leads to one record."""

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "mail_domain", "local_part", "model", "defaults", "policy", "forced_record",
            "accepts_automatic", "status",
        ),
        content=("bounced_text",),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="aliases")
    mail_domain = models.ForeignKey(MailDomain, models.CASCADE, related_name="aliases")
    local_part = models.CharField(max_length=40)
    model = models.CharField(max_length=80, blank=True)
    defaults = models.JSONField(default=dict, blank=True)
    policy = models.CharField(max_length=10, choices=Policy.choices, default=Policy.EVERYONE)
    forced_record = models.ForeignKey(Record, models.CASCADE, null=True, blank=True, related_name="aliases")
    accepts_automatic = models.BooleanField(default=False)
    bounced_text = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=AliasStatus.choices, default=AliasStatus.NOT_TESTED)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["mail_domain", "local_part"], name="alias_once")]

    def __str__(self) -> str:
        return self.addr_spec

    @property
    def addr_spec(self) -> str:
        """The whole address."""
        return f"{self.local_part}@{self.mail_domain.domain}"
