"""Decisions that no other row tells."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from postroom.conversations.models import Contact, Message, Record
from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Member, Workspace


class Event(models.Model):
    """One decision: what was decided (`kind`), about what, by whom, and why (`detail`). Only ever added.

    `email_id` is a bare number: an event outlives nothing and locks nothing of the queue.
    """

    classified = Classified(
        kept=Kept.WITH_MESSAGE,
        plain=("id", "workspace", "at", "kind", "message", "record", "contact", "email_id", "member"),
        content=("detail",),
    )
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=40)
    message = models.ForeignKey(Message, models.CASCADE, null=True, related_name="events")
    record = models.ForeignKey(Record, models.CASCADE, null=True, related_name="events")
    contact = models.ForeignKey(Contact, models.SET_NULL, null=True, related_name="events")
    email_id = models.BigIntegerField(null=True)
    member = models.ForeignKey(Member, models.SET_NULL, null=True, related_name="+")
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["email_id"], name="event_of_email")]

    def __str__(self) -> str:
        return self.kind
