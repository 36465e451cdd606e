"""Workspaces and what is set for them."""

from __future__ import annotations

import hashlib
import secrets
from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.sealed import SealedField


class CaptureMode(models.TextChoices):
    """What capture does with mail, where it is switched on."""

    ALL = "all", _("Keep everything in")
    REDIRECT = "redirect", _("Redirect everything to one address")
    ALLOW = "allow", _("Let only these addresses through")


class Installation(models.Model):
    """The one row that says which installation this database belongs to (promise 8)."""

    classified = Classified(
        kept=Kept.INSTALLATION,
        plain=(
            "id", "instance", "created_at", "capturing_since", "capture_reason", "capture_mode",
            "engine_seen_at",
        ),
        personal=("capture_to", "capture_allowed"),
        secret=("key_check",),
    )  # fmt: skip
    instance = models.CharField(max_length=64)
    key_check = models.CharField(max_length=32)
    created_at = models.DateTimeField(db_default=Now())
    capturing_since = models.DateTimeField(null=True)
    capture_reason = models.CharField(max_length=20, blank=True, db_default="")
    capture_mode = models.CharField(
        max_length=8, choices=CaptureMode.choices, db_default=CaptureMode.ALL, default=CaptureMode.ALL
    )
    capture_to = models.CharField(max_length=254, blank=True, db_default="", default="")
    capture_allowed = models.TextField(blank=True, db_default="", default="")
    engine_seen_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_installation")]

    def __str__(self) -> str:
        return self.instance


class Station(models.Model):
    """One running part of the installation: all of it, or its pages, its front door or its engine alone.

    It notes every few seconds that it is there; one that has not been seen for a while is gone.
    """

    class Role(models.TextChoices):
        """What it does; the names are those of the commands that start it."""

        UP = "up", _("Everything")
        WEB = "web", _("Pages and API")
        SMTP = "smtp", _("Incoming mail")
        WORKER = "worker", _("Engine")

    classified = Classified(
        kept=Kept.INSTALLATION,
        plain=(
            *("id", "name", "role", "host", "pid", "instance", "version"),
            *("is_draining", "started_at", "seen_at"),
        ),
    )
    name = models.CharField(max_length=32, unique=True)
    role = models.CharField(max_length=6, choices=Role.choices)
    host = models.CharField(max_length=120)
    pid = models.PositiveIntegerField()
    instance = models.CharField(max_length=64, blank=True, default="")
    version = models.CharField(max_length=40, blank=True, default="")
    is_draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.role} {self.host}:{self.pid}"


class Plan(models.TextChoices):
    """What a workspace is, as far as it decides its daily limit; the figures are in `workspaces.plans`."""

    PAID = "paid", _("Paid")
    ONE_APP_FREE = "one_app_free", _("One app free")
    TRIAL = "trial", _("Trial")
    MIGRATING = "migrating", _("Migrating")
    UNLIMITED = "unlimited", _("No limit")


class Workspace(models.Model):
    """A tenant: its records, conversations, addresses and limits. Nothing crosses its wall.

    `daily_limit` is what an operator set; None means that of the plan. `features` names, separated by commas,
    what an operator counts as in use there (email_marketing, marketing_automation). `time_zone` is an IANA
    name.
    """

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "slug", "name", "is_capturing", "capture_mode", "plan", "daily_limit", "features",
            "time_zone", "created_at",
        ),
        personal=("capture_to", "capture_allowed"),
    )  # fmt: skip
    slug = models.CharField(
        max_length=40, unique=True, validators=[RegexValidator(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    )
    name = models.CharField(max_length=120)
    is_capturing = models.BooleanField(db_default=False, default=False)
    capture_mode = models.CharField(
        max_length=8, choices=CaptureMode.choices, db_default=CaptureMode.ALL, default=CaptureMode.ALL
    )
    capture_to = models.CharField(max_length=254, blank=True, db_default="", default="")
    capture_allowed = models.TextField(blank=True, db_default="", default="")
    plan = models.CharField(max_length=12, choices=Plan.choices, default=Plan.PAID)
    daily_limit = models.PositiveIntegerField(null=True, blank=True)
    features = models.CharField(max_length=200, blank=True, default="")
    time_zone = models.CharField(max_length=64, default="UTC", db_default="UTC")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name

    @property
    def subdomain(self) -> str:
        """The mail domain every workspace has from the start: <slug>.<POSTROOM_MAIL_DOMAIN>."""
        return f"{self.slug}.{settings.POSTROOM_MAIL_DOMAIN}"


class Role(models.TextChoices):
    """What a member may do; each role includes those after it."""

    OPERATOR = "operator", _("Operator")
    ADMIN = "admin", _("Administrator")
    MEMBER = "member", _("Member")


class Channel(models.TextChoices):
    """How a member is told."""

    EMAIL = "email", _("By email")
    POSTROOM = "postroom", _("In Postroom")


class MemberQuerySet(models.QuerySet["Member"]):
    """Members of a workspace."""

    def active(self) -> MemberQuerySet:
        """Those who may log in."""
        return self.filter(is_active=True, user__is_active=True)


class Member(models.Model):
    """A person who logs in: a user in one workspace."""

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "user", "role", "language", "channel", "is_developer", "is_active",
            "has_placeholder_address", "joined_at",
        ),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    language = models.CharField(max_length=5, choices=settings.LANGUAGES, default="en")
    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.EMAIL)
    is_developer = models.BooleanField(_("Developer mode"), default=False)
    is_active = models.BooleanField(default=True)
    has_placeholder_address = models.BooleanField(default=False)
    joined_at = models.DateTimeField(db_default=Now())

    #: A command on a shell acts in this member's name; nobody logged in.
    is_command = False

    objects: ClassVar[models.Manager[Member]] = MemberQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="member_once_per_workspace")
        ]

    def __str__(self) -> str:
        return str(self.user)

    @property
    def is_admin(self) -> bool:
        """May this member change settings and correct addresses?"""
        return self.role in (Role.ADMIN, Role.OPERATOR)

    @property
    def is_operator(self) -> bool:
        """May this member act on the whole installation?"""
        return self.role == Role.OPERATOR


class MailDomain(models.Model):
    """A domain whose mail belongs to one workspace, with the local parts that have a meaning there."""

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "domain", "bounce_local_part", "catchall_local_part", "from_local_part",
            "is_default", "dns_checked_at", "dns_findings",
        ),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="mail_domains")
    domain = models.CharField(max_length=253, unique=True)
    bounce_local_part = models.CharField(max_length=20, default="bounce")
    catchall_local_part = models.CharField(max_length=20, default="catchall")
    from_local_part = models.CharField(max_length=254, default="notifications")
    is_default = models.BooleanField(default=False)
    dns_checked_at = models.DateTimeField(null=True)
    dns_findings = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace"], condition=models.Q(is_default=True), name="one_default_mail_domain"
            )
        ]

    def __str__(self) -> str:
        return self.domain

    @property
    def from_addr_spec(self) -> str:
        """The address that mail goes out from when its author's own address may not be used."""
        return self.from_local_part if self.overrides_from else f"{self.from_local_part}@{self.domain}"

    @property
    def overrides_from(self) -> bool:
        """Is a whole address set as the default From? Then every mail goes out from it."""
        return "@" in self.from_local_part


class DkimKey(models.Model):
    """A key that signs the mail of one domain (RFC 6376, RFC 8463). It signs only while it is active.

    Made → published in DNS and found there → active → retiring (signs no more, still published, so that mail
    on its way verifies) → retired (its record may be removed).
    """

    class Algorithm(models.TextChoices):
        """What it signs with."""

        RSA = "rsa", "RSA-2048"
        ED25519 = "ed25519", "Ed25519"

    class State(models.TextChoices):
        """How far its life has gone."""

        WAITING = "waiting", _("Waits for its DNS record")
        ACTIVE = "active", _("Signs")
        RETIRING = "retiring", _("Signs no more; keep its DNS record")
        RETIRED = "retired", _("Retired; its DNS record may go")

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "mail_domain", "selector", "algorithm", "state", "public", "created_at",
            "activated_at", "retires_at",
        ),
        secret=("private",),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="dkim_keys")
    mail_domain = models.ForeignKey(MailDomain, models.CASCADE, related_name="dkim_keys")
    selector = models.CharField(max_length=63)
    algorithm = models.CharField(max_length=8, choices=Algorithm.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    private = SealedField()
    public = models.TextField()
    created_at = models.DateTimeField(db_default=Now())
    activated_at = models.DateTimeField(null=True)
    retires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["mail_domain", "selector"], name="dkim_selector_once")]

    def __str__(self) -> str:
        return f"{self.selector}._domainkey.{self.mail_domain}"


class LimitRequest(models.Model):
    """A member asks for a higher daily limit; an operator grants it or not.

    `factors` are those the decision rests on, as they were when it was asked; `answer` is what the operator
    had to say to it.
    """

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "member", "wanted_limit", "factors", "recommended_limit", "created_at",
            "decided_at", "decided_by", "granted_limit",
        ),
        content=("reason", "answer"),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="limit_requests")
    member = models.ForeignKey(Member, models.SET_NULL, null=True, related_name="+")
    wanted_limit = models.PositiveIntegerField()
    reason = models.TextField(blank=True)
    factors = models.JSONField(default=dict)
    recommended_limit = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(Member, models.SET_NULL, null=True, related_name="+")
    granted_limit = models.PositiveIntegerField(null=True)
    answer = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace"], condition=models.Q(decided_at=None), name="one_open_limit_request"
            )
        ]

    def __str__(self) -> str:
        return f"{self.workspace}: {self.wanted_limit}"


class SystemParameter(models.Model):
    """A value that overrides a default of `parameters.KNOWN`, for one workspace."""

    classified = Classified(kept=Kept.WITH_WORKSPACE, plain=("id", "workspace", "key", "value"))
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="parameters")
    key = models.CharField(max_length=80)
    value = models.CharField(max_length=500)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "key"], name="parameter_once")]

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


class ApiKey(models.Model):
    """Lets a program act as a member. Shown once when made; only its digest is kept."""

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=("id", "workspace", "member", "name", "prefix", "created_at", "last_used_at", "revoked_at"),
        secret=("digest",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="api_keys")
    member = models.ForeignKey(Member, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def make(cls, member: Member, name: str) -> tuple[ApiKey, str]:
        """Make a key for a member; the second value is the key itself, which is not kept."""
        prefix = f"pr_{secrets.token_hex(4)}"
        text = f"{prefix}_{secrets.token_urlsafe(32)}"
        key = cls.objects.create(
            workspace_id=member.workspace_id,
            member=member,
            name=name,
            prefix=prefix,
            digest=cls.digest_of(text),
        )
        return key, text

    @staticmethod
    def digest_of(text: str) -> str:
        """What is stored of a key: it has 256 random bits, so a plain digest is enough."""
        return hashlib.sha256(text.encode()).hexdigest()

    def is_opened_by(self, text: str) -> bool:
        """Is this the key, and may it still be used? Takes the same time for every wrong key."""
        return secrets.compare_digest(self.digest, self.digest_of(text)) and self.revoked_at is None


class IdempotentRequest(models.Model):
    """What a request with an `Idempotency-Key` answered, so that repeating it answers the same (24 h)."""

    classified = Classified(
        kept=Kept.LIMITED,
        plain=("id", "workspace", "api_key", "key", "digest", "status", "created_at"),
        content=("body",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    api_key = models.ForeignKey(ApiKey, models.CASCADE, related_name="+")
    key = models.CharField(max_length=256)
    digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["api_key", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key
