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


class Counter(models.Model):
    """A count of the whole installation that only grows, over all its stations and restarts.

    `series` is the metric's name and labels as Prometheus writes them, `value` what was counted.
    """

    classified = Classified(kept=Kept.INSTALLATION, plain=("id", "series", "value"))
    series = models.CharField(max_length=250, unique=True)
    value = models.FloatField(db_default=0.0, default=0.0)

    def __str__(self) -> str:
        return f"{self.series} {self.value:g}"


class Sample(models.Model):
    """What was measured or counted in one piece of time, for the charts.

    `at` is when the piece begins; `name` and `label` say what, `value` how much.
    """

    classified = Classified(kept=Kept.LIMITED, plain=("id", "at", "name", "label", "value"))
    at = models.DateTimeField()
    name = models.CharField(max_length=40)
    label = models.CharField(max_length=100, blank=True, default="")
    value = models.FloatField(default=0.0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "label", "at"], name="sample_once")]
        indexes = [models.Index(fields=["at"], name="sample_at")]

    def __str__(self) -> str:
        return f"{self.name} {self.label} {self.value:g}"
