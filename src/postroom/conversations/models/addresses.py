"""Who can be written to: addresses, and the people and shared boxes behind them."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from postroom.wire.address import Mailbox
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Member, Workspace


class Address(models.Model):
    """One email address in one workspace, in its normalised form (`wire.address.normalise`)."""

    classified = Classified(
        kept=Kept.UNTIL_REFERENCED_NO_MORE,
        plain=("id", "workspace", "bounce_score", "bounced_at", "created_at"),
        personal=("addr_spec",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="addresses")
    addr_spec = models.CharField(max_length=254)
    bounce_score = models.FloatField(db_default=0.0, default=0.0)
    bounced_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "addr_spec"], name="address_once")]

    def __str__(self) -> str:
        return self.addr_spec

    @classmethod
    def of(cls, workspace: Workspace, addr_spec: str) -> Address:
        """The row of a normalised address, made if there is none."""
        return cls.objects.get_or_create(workspace=workspace, addr_spec=addr_spec)[0]


class ContactQuerySet(models.QuerySet["Contact"]):
    """Contacts of a workspace."""

    def for_member(self, member: Member) -> ContactQuerySet:
        """Those a member may see: all of the workspace."""
        return self.filter(workspace_id=member.workspace_id)


class Contact(models.Model):
    """A person or a shared box: may be a member, may have no address. Several may share an address."""

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=("id", "workspace", "member", "address", "language", "is_active", "created_at"),
        personal=("name",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="contacts")
    name = models.CharField(max_length=200, blank=True)
    address = models.ForeignKey(Address, models.PROTECT, null=True, related_name="contacts")
    member = models.OneToOneField(Member, models.SET_NULL, null=True, related_name="contact")
    language = models.CharField(max_length=5, choices=settings.LANGUAGES, default="en")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager[Contact]] = ContactQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name or (self.address.addr_spec if self.address else f"#{self.pk}")

    @property
    def addr_spec(self) -> str:
        """The address as text, empty if there is none."""
        return self.address.addr_spec if self.address else ""

    @property
    def mailbox(self) -> Mailbox:
        """Name and address for a header. Raises ValueError if there is no address."""
        if self.address is None:
            raise ValueError(f"{self.name or 'This contact'} has no address; add one first.")
        return Mailbox(self.name, self.address.addr_spec)

    @property
    def is_insider(self) -> bool:
        """Is this somebody of the house, who may be told internal things?"""
        return self.member_id is not None
