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
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.sealed import SealedField


class MailServer(models.Model):
    """A server that takes our mail. The one without a workspace is the shared relay, set by RELAY_URL.

    `from_filter` names the domains and addresses it lets us send from (empty: any). `owner` makes it a
    member's personal server. A limit of None is none. `down_until` and `down_because` say that it is left
    alone for now (`outgoing.holds`), `failure_count` how often in a row it had to be, and `failing_since`
    since when. `announced_size` is the SIZE it last told, in octets.
    """

    class Transport(models.TextChoices):
        """How mail is handed over."""

        SMTP = "smtp", "SMTP"
        ESP = "esp", _("Email service provider (its API)")

    class Encryption(models.TextChoices):
        """How the connection is protected."""

        NONE = "none", _("None")
        STARTTLS = "starttls", "TLS (STARTTLS)"
        TLS = "tls", "SSL/TLS"

    class Authentication(models.TextChoices):
        """How we say who we are."""

        LOGIN = "login", _("Username")
        CERTIFICATE = "certificate", _("SSL Certificate")
        XOAUTH2 = "xoauth2", "OAuth 2.0 (XOAUTH2)"

    classified = Classified(
        kept=Kept.INSTALLATION,
        plain=(
            "id", "workspace", "name", "transport", "esp", "host", "port", "encryption",
            "is_certificate_checked", "authentication", "client_certificate", "from_filter", "priority",
            "is_active", "max_size_megabytes", "connection_limit", "limit_per_minute", "limit_per_hour",
            "limit_per_day", "owner", "is_for_campaigns", "created_at", "down_until", "down_because",
            "failure_count", "failing_since", "last_failure", "last_reached_at", "announced_size",
        ),
        personal=("user",),
        secret=("password", "client_key", "oauth", "esp_options"),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="mail_servers")
    name = models.CharField(max_length=80)
    transport = models.CharField(max_length=4, choices=Transport.choices, default=Transport.SMTP)
    host = models.CharField(max_length=253, blank=True, default="")
    port = models.PositiveIntegerField(default=25)
    encryption = models.CharField(max_length=8, choices=Encryption.choices, default=Encryption.STARTTLS)
    is_certificate_checked = models.BooleanField(default=True)
    authentication = models.CharField(
        max_length=11, choices=Authentication.choices, default=Authentication.LOGIN
    )
    user = models.CharField(max_length=254, blank=True, default="")
    password = SealedField()
    client_certificate = models.TextField(blank=True, default="")
    client_key = SealedField()
    oauth = SealedField()
    esp = models.CharField(max_length=40, blank=True, default="")
    esp_options = SealedField()
    from_filter = models.TextField(blank=True, default="")
    priority = models.PositiveSmallIntegerField(default=10)
    is_active = models.BooleanField(default=True)
    max_size_megabytes = models.PositiveSmallIntegerField(null=True, blank=True)
    connection_limit = models.PositiveSmallIntegerField(default=8)
    limit_per_minute = models.PositiveIntegerField(null=True, blank=True)
    limit_per_hour = models.PositiveIntegerField(null=True, blank=True)
    limit_per_day = models.PositiveIntegerField(null=True, blank=True)
    owner = models.ForeignKey(Member, models.CASCADE, null=True, blank=True, related_name="mail_servers")
    is_for_campaigns = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    down_until = models.DateTimeField(null=True)
    down_because = models.CharField(max_length=40, blank=True, db_default="", default="")
    failure_count = models.PositiveSmallIntegerField(db_default=0, default=0)
    failing_since = models.DateTimeField(null=True)
    last_failure = models.TextField(blank=True, db_default="", default="")
    last_reached_at = models.DateTimeField(null=True)
    announced_size = models.PositiveBigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=Q(workspace=None), name="one_shared_relay_by_name"
            ),
            models.UniqueConstraint(
                fields=["owner"], condition=Q(is_active=True), name="one_personal_server_each"
            ),
            models.UniqueConstraint(
                fields=["workspace"],
                condition=Q(is_for_campaigns=True, is_active=True),
                name="one_server_for_campaigns",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def engine_lane(self) -> str:
        """The name under which the engine wakes this server."""
        return f"server:{self.pk}"

    @property
    def is_shared(self) -> bool:
        """Is it the relay of the whole installation, whose use the daily limit counts?"""
        return self.workspace_id is None


class Lane(models.Model):
    """Where Emails of one workspace, stream and server wait; a hold or a pause is one row here.

    `message` sets a mailing's Emails apart from the rest, so that its turn, its pause and its end are one
    row too. `via` is the server that stands in while `server` is down (None: none does).
    `has_foreign_from`: mail was put here whose From only its own server lets us use, on no domain of ours.
    `released_until`: only what is due until then may leave, the rest waits for its scheduled action (None:
    all may leave when it is due). `slow_told_at`: people were told that it is slow, and it still is.
    """

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "stream", "server", "via", "message", "held_until", "held_because",
            "is_paused", "has_foreign_from", "released_until", "slow_told_at",
        ),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="lanes")
    stream = models.CharField(max_length=6, choices=Stream.choices)
    server = models.ForeignKey(MailServer, models.CASCADE, related_name="lanes")
    via = models.ForeignKey(MailServer, models.SET_NULL, null=True, related_name="+")
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="lanes")
    held_until = models.DateTimeField(null=True)
    held_because = models.CharField(max_length=40, blank=True, db_default="")
    is_paused = models.BooleanField(db_default=False, default=False)
    has_foreign_from = models.BooleanField(db_default=False, default=False)
    released_until = models.DateTimeField(null=True)
    slow_told_at = models.DateTimeField(null=True)

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

    `octets` is a `wire.compose.Template`: a bytes %-format. Written by posting; never changed, but emptied by
    Auto-Vacuum once everything is Sent and nothing can be sent again.
    `from_addr_spec` is its header From. `reverse_path` is the whole reverse-path if it may not be a signed
    one, else `return_domain` is the mail domain of the signed one (empty: the workspace's default domain).
    """

    classified = Classified(
        kept=Kept.WITH_MESSAGE,
        plain=("id", "workspace", "message", "language", "layout", "digest", "size", "created_at"),
        content=("octets",),
        personal=("reverse_path", "from_addr_spec", "return_domain"),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+", db_constraint=False)
    message = models.ForeignKey(Message, models.CASCADE, related_name="renditions")
    language = models.CharField(max_length=5)
    layout = models.CharField(max_length=20)
    digest = models.CharField(max_length=64)
    size = models.PositiveIntegerField()
    octets = models.BinaryField()
    reverse_path = models.CharField(max_length=254, blank=True, db_default="")
    from_addr_spec = models.CharField(max_length=254, blank=True, db_default="", default="")
    return_domain = models.CharField(max_length=253, blank=True, db_default="", default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "language", "layout"], name="rendition_once")
        ]
        indexes = [models.Index(fields=["id"], condition=Q(layout="secret"), name="rendition_secret")]

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
    DAILY_LIMIT = "daily_limit", _("Over the daily limit")


class Email(models.Model):
    """One message to one recipient: one RCPT TO, from the moment it is due for as long as its message lasts.

    `lease` is empty unless a worker has it in hand, until `leased_until` on the database's clock. `is_listed`
    says whether the queue page shows it: urgent mail appears only if its first attempt did not end in Sent.
    `quota_day` is the day whose limit it was counted against, `redirected_to` who got it in the recipient's
    place (capture mode).
    """

    classified = Classified(
        kept=Kept.WITH_MESSAGE,
        plain=(
            "id", "workspace", "message", "rendition", "address", "contact", "lane", "state", "failure_kind",
            "cancelled_because", "due_at", "lease", "leased_until", "attempt_count", "uncertain_count",
            "throttled_count", "first_attempt_at", "sent_at", "bounced_at", "ignored_at", "why_told",
            "is_listed", "quota_day",
            "created_at",
        ),
        personal=("redirected_to",),
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
        max_length=12, choices=FailureKind.choices, blank=True, db_default="", default=""
    )
    failure_text = models.TextField(blank=True, db_default="", default="")
    cancelled_because = models.CharField(max_length=20, blank=True, db_default="", default="")
    due_at = models.DateTimeField(db_default=Now())
    lease = models.CharField(max_length=32, blank=True, db_default="", default="")
    leased_until = models.DateTimeField(null=True)
    attempt_count = models.PositiveSmallIntegerField(db_default=0, default=0)
    uncertain_count = models.PositiveSmallIntegerField(db_default=0, default=0)
    throttled_count = models.PositiveSmallIntegerField(db_default=0, default=0)
    first_attempt_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    bounced_at = models.DateTimeField(null=True)
    ignored_at = models.DateTimeField(null=True)
    why_told = models.CharField(max_length=10, blank=True, db_default="", default="")
    is_listed = models.BooleanField(db_default=True, default=True)
    quota_day = models.DateField(null=True)
    redirected_to = models.CharField(max_length=254, blank=True, db_default="", default="")
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
            models.Index(
                fields=["workspace", "-id"], condition=Q(cancelled_because="captured"), name="email_captured"
            ),
            models.Index(
                fields=["workspace", "-id"], condition=~Q(redirected_to=""), name="email_redirected"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} → {self.address_id}"

    @property
    def is_failing(self) -> bool:
        """Does it turn the envelope red?"""
        return self.state == State.FAILED and self.ignored_at is None


class Attempt(models.Model):
    """One mail transaction and its answer, kept as the operator's history.

    `is_unverified`: it went over TLS, but nobody checked whose certificate that was.
    """

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
            "seconds", "is_tls", "is_unverified",
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
    is_unverified = models.BooleanField(db_default=False, default=False)

    def __str__(self) -> str:
        return f"{self.number}. {self.outcome}"

    @property
    def protection(self) -> str:
        """How the connection was protected, in words; empty if it was not."""
        if self.is_unverified:
            return str(_("TLS, unverified"))
        return "TLS" if self.is_tls else ""


class Allowance(models.Model):
    """How much of a limit one of its periods has used: a workspace's day, or a server's minute, hour or day.

    `used_count` counts what was reserved when it was claimed; what did not leave is given back.
    """

    class Unit(models.TextChoices):
        """The period: a day of the daily limit starts at 23:00 UTC, the others on the clock in UTC."""

        QUOTA_DAY = "quota_day", _("Day of the daily limit")
        MINUTE = "minute", _("Minute")
        HOUR = "hour", _("Hour")
        DAY = "day", _("Day")

    classified = Classified(
        kept=Kept.LIMITED, plain=("id", "workspace", "server", "unit", "starts_at", "used_count")
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, null=True, related_name="+")
    server = models.ForeignKey(MailServer, models.CASCADE, null=True, related_name="+")
    unit = models.CharField(max_length=9, choices=Unit.choices)
    starts_at = models.DateTimeField()
    used_count = models.PositiveIntegerField(db_default=0, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "unit", "starts_at"],
                condition=Q(server=None),
                name="allowance_once_per_workspace",
            ),
            models.UniqueConstraint(
                fields=["server", "unit", "starts_at"],
                condition=Q(workspace=None),
                name="allowance_once_per_server",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.unit} {self.starts_at:%Y-%m-%d %H:%M}: {self.used_count}"


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
