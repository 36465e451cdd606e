"""The queue and what it leaves behind.

One Email per recipient is the queue row and the lasting record in one. It is written in bulk (INSERT …
SELECT) and settled in groups, so the table has few indexes, few constraints and defaults in the database.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from postroom.conversations.models import Address, Contact, Message
from postroom.conversations.models.records import Stream
from postroom.outgoing.queue import EmailQuerySet
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Workspace


class MailServer(models.Model):
    """A relay that takes our mail. The one without a workspace is the shared relay, set by RELAY_URL."""

    classified = Classified(kept=Kept.INSTALLATION, plain=("id", "workspace", "name", "connection_limit"))
    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="mail_servers")
    name = models.CharField(max_length=80)
    connection_limit = models.PositiveSmallIntegerField(default=8)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=Q(workspace=None), name="one_shared_relay_by_name"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def engine_lane(self) -> str:
        """The name under which the engine wakes this server."""
        return f"server:{self.pk}"


class Lane(models.Model):
    """Where Emails of one workspace, stream and server wait; a hold or a pause is one row here.

    `message` sets a mailing's Emails apart from the rest, so that its turn, its pause and its end are one
    row too.
    """

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=("id", "workspace", "stream", "server", "message", "held_until", "held_because", "is_paused"),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="lanes")
    stream = models.CharField(max_length=6, choices=Stream.choices)
    server = models.ForeignKey(MailServer, models.CASCADE, related_name="lanes")
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="lanes")
    held_until = models.DateTimeField(null=True)
    held_because = models.CharField(max_length=40, blank=True, db_default="")
    is_paused = models.BooleanField(db_default=False, default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "stream", "server"], condition=Q(message=None), name="lane_once"
            ),
            models.UniqueConstraint(fields=["message", "server"], name="lane_once_per_mailing"),
        ]

    def __str__(self) -> str:
        return f"{self.workspace} · {self.stream} · {self.server}"


class Rendition(models.Model):
    """Octets as they go over the wire, with placeholders: one per language and layout of a message.

    `octets` is a `wire.compose.Template`: a bytes %-format. Written by posting; never changed.
    """

    classified = Classified(
        kept=Kept.UNTIL_REFERENCED_NO_MORE,
        plain=("id", "workspace", "message", "language", "layout", "digest", "size", "created_at"),
        content=("octets",),
        personal=("reverse_path",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+", db_constraint=False)
    message = models.ForeignKey(Message, models.CASCADE, related_name="renditions")
    language = models.CharField(max_length=5)
    layout = models.CharField(max_length=20)
    digest = models.CharField(max_length=64)
    size = models.PositiveIntegerField()
    octets = models.BinaryField()
    reverse_path = models.CharField(max_length=254, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "language", "layout"], name="rendition_once")
        ]

    def __str__(self) -> str:
        return f"{self.message_id} {self.language} {self.layout}"


class State(models.TextChoices):
    """The seeds' words for where an email is."""

    OUTGOING = "outgoing", _("Outgoing")
    SENT = "sent", _("Sent")
    RECEIVED = "received", _("Received")
    FAILED = "failed", _("Delivery Failed")
    CANCELLED = "cancelled", _("Cancelled")


class FailureKind(models.TextChoices):
    """What sort of failure it is; the words for people are in `diagnostics.explain`."""

    REFUSED = "refused", _("Refused")
    BOUNCED = "bounced", _("Bounced")
    EXPIRED = "expired", _("Tried too long")
    UNCERTAIN = "uncertain", _("May have arrived")
    INVALID = "invalid", _("Not a valid address")


class Email(models.Model):
    """One message to one recipient: one RCPT TO, from the moment it is due for as long as its message lasts.

    `lease` is empty unless a worker has it in hand, until `leased_until` on the database's clock. `is_listed`
    says whether the queue page shows it: urgent mail appears only if its first attempt did not end in Sent.
    """

    classified = Classified(
        kept=Kept.WITH_MESSAGE,
        plain=(
            "id", "workspace", "message", "rendition", "address", "contact", "lane", "state", "failure_kind",
            "cancelled_because", "due_at", "lease", "leased_until", "attempt_count", "uncertain_count",
            "first_attempt_at", "sent_at", "bounced_at", "ignored_at", "why_told", "is_listed", "created_at",
        ),
        content=("failure_text",),
    )  # fmt: skip
    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    message = models.ForeignKey(Message, models.CASCADE, related_name="emails", db_index=False)
    rendition = models.ForeignKey(
        Rendition, models.SET_NULL, null=True, related_name="emails", db_constraint=False
    )
    address = models.ForeignKey(Address, models.PROTECT, related_name="emails", db_constraint=False)
    contact = models.ForeignKey(
        Contact, models.SET_NULL, null=True, related_name="emails", db_constraint=False
    )
    lane = models.ForeignKey(Lane, models.PROTECT, related_name="emails", db_constraint=False, db_index=False)
    state = models.CharField(
        max_length=9, choices=State.choices, db_default=State.OUTGOING, default=State.OUTGOING
    )
    failure_kind = models.CharField(
        max_length=9, choices=FailureKind.choices, blank=True, db_default="", default=""
    )
    failure_text = models.TextField(blank=True, db_default="", default="")
    cancelled_because = models.CharField(max_length=20, blank=True, db_default="", default="")
    due_at = models.DateTimeField(db_default=Now())
    lease = models.CharField(max_length=32, blank=True, db_default="", default="")
    leased_until = models.DateTimeField(null=True)
    attempt_count = models.PositiveSmallIntegerField(db_default=0, default=0)
    uncertain_count = models.PositiveSmallIntegerField(db_default=0, default=0)
    first_attempt_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    bounced_at = models.DateTimeField(null=True)
    ignored_at = models.DateTimeField(null=True)
    why_told = models.CharField(max_length=10, blank=True, db_default="", default="")
    is_listed = models.BooleanField(db_default=True, default=True)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[EmailQuerySet] = EmailQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["message", "address"], name="email_once_per_address")]
        indexes = [
            models.Index(
                fields=["lane", "due_at", "id"], condition=Q(state="outgoing", lease=""), name="email_due"
            ),
            models.Index(fields=["leased_until"], condition=~Q(lease=""), name="email_leased"),
            models.Index(fields=["workspace", "state", "-id"], name="email_of_state"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} → {self.address_id}"

    @property
    def is_failing(self) -> bool:
        """Does it turn the envelope red?"""
        return self.state == State.FAILED and self.ignored_at is None


class Attempt(models.Model):
    """One mail transaction and its answer, kept as the operator's history."""

    class Outcome(models.TextChoices):
        """How the transaction ended (`wire.reply.Outcome`)."""

        ACCEPTED = "accepted", _("Accepted")
        DEFERRED = "deferred", _("Try again later")
        REFUSED = "refused", _("Refused")
        UNREACHABLE = "unreachable", _("Server not reached")
        UNCERTAIN = "uncertain", _("No answer: may have arrived")

    classified = Classified(
        kept=Kept.LIMITED,
        plain=(
            "id", "workspace", "email", "number", "at", "server_name", "remote_id", "outcome",
            "code", "enhanced",
            "seconds", "is_tls",
        ),
        personal=("addr_spec", "reverse_path"),
        content=("text",),
    )  # fmt: skip
    workspace = models.ForeignKey(
        Workspace, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    email = models.ForeignKey(Email, models.CASCADE, related_name="attempts", db_constraint=False)
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField(db_default=Now())
    addr_spec = models.CharField(max_length=254)
    server_name = models.CharField(max_length=80)
    reverse_path = models.CharField(max_length=254, blank=True, db_default="")
    remote_id = models.CharField(max_length=120, blank=True, db_default="")
    outcome = models.CharField(max_length=11, choices=Outcome.choices)
    code = models.PositiveSmallIntegerField(null=True)
    enhanced = models.CharField(max_length=11, blank=True, db_default="")
    text = models.TextField(blank=True, db_default="")
    seconds = models.FloatField(db_default=0.0)
    is_tls = models.BooleanField(db_default=False)

    def __str__(self) -> str:
        return f"{self.number}. {self.outcome}"


class Tally(models.Model):
    """How many Emails of a message are in which state; kept in the same transaction as they are."""

    classified = Classified(
        kept=Kept.WITH_MESSAGE,
        plain=(
            "message", "workspace", "total_count", "outgoing_count", "sent_count", "failed_count",
            "ignored_count",
            "cancelled_count",
        ),
    )  # fmt: skip
    message = models.OneToOneField(Message, models.CASCADE, primary_key=True, related_name="tally")
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+", db_constraint=False)
    total_count = models.PositiveIntegerField(db_default=0, default=0)
    outgoing_count = models.PositiveIntegerField(db_default=0, default=0)
    sent_count = models.PositiveIntegerField(db_default=0, default=0)
    failed_count = models.PositiveIntegerField(db_default=0, default=0)
    ignored_count = models.PositiveIntegerField(db_default=0, default=0)
    cancelled_count = models.PositiveIntegerField(db_default=0, default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    total_count=F("outgoing_count")
                    + F("sent_count")
                    + F("failed_count")
                    + F("ignored_count")
                    + F("cancelled_count")
                ),
                name="tally_adds_up",
            )
        ]

    def __str__(self) -> str:
        return f"{self.sent_count}/{self.total_count}"

    @property
    def is_red(self) -> bool:
        """Is at least one Email in Delivery Failed and not ignored?"""
        return self.failed_count > 0
