"""Scheduled actions and what makes them run early."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from postroom.workspaces.classified import Classified, Kept
from postroom.workspaces.models import Member, Workspace


class ScheduledActionQuerySet(models.QuerySet["ScheduledAction"]):
    """Scheduled actions of a workspace."""

    def for_member(self, member: Member) -> ScheduledActionQuerySet:
        """Those a member may see: all of the workspace."""
        return self.filter(workspace_id=member.workspace_id)


class ScheduledAction(models.Model):
    """Something a workspace has done for it again and again; `key` names what (`schedule.catalogue`).

    `next_call_at` keeps its wall-clock hour in `time_zone` (an IANA name; empty: the workspace's). It is
    counted from `anchor_at`, the first call that somebody set (None: from itself), so that neither a short
    month nor an hour that the clocks skip moves the calls after it. `priority` is lower for what runs first
    of the workspace's own.
    A run in hand has a `lease` until `leased_until` and began at `began_at`.
    `is_unfinished`: the last run stopped at a safe point with work left, and it goes on after the others.
    `timeout_count` counts runs in a row that never came back, `failure_count` those that failed, since
    `failing_since`; `deactivated_at` is when that switched the action off (None: it did not). `positions` is
    where work that goes through a large table goes on, by names of its own.
    """

    class Unit(models.TextChoices):
        """What the interval counts."""

        MINUTES = "minutes", _("minutes")
        HOURS = "hours", _("hours")
        DAYS = "days", _("days")
        WEEKS = "weeks", _("weeks")
        MONTHS = "months", _("months")

    class Result(models.TextChoices):
        """How a run ended."""

        DONE = "done", _("Done")
        UNFINISHED = "unfinished", _("Goes on")
        FAILED = "failed", pgettext_lazy("scheduled action", "Failed")
        LOST = "lost", _("Never came back")

    classified = Classified(
        kept=Kept.WITH_WORKSPACE,
        plain=(
            "id", "workspace", "key", "is_active", "interval", "unit", "time_zone", "next_call_at",
            "anchor_at", "priority", "lease", "leased_until", "began_at", "is_unfinished", "timeout_count",
            "failure_count", "failing_since", "deactivated_at", "last_run_at", "last_seconds",
            "last_result", "last_counts", "last_success_at", "positions",
        ),
        content=("last_error",),
    )  # fmt: skip
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="scheduled_actions")
    key = models.CharField(max_length=40)
    is_active = models.BooleanField(default=True)
    interval = models.PositiveSmallIntegerField()
    unit = models.CharField(max_length=7, choices=Unit.choices)
    time_zone = models.CharField(max_length=64, blank=True, default="")
    next_call_at = models.DateTimeField()
    anchor_at = models.DateTimeField(null=True)
    priority = models.PositiveSmallIntegerField(default=5)
    lease = models.CharField(max_length=32, blank=True, default="")
    leased_until = models.DateTimeField(null=True)
    began_at = models.DateTimeField(null=True)
    is_unfinished = models.BooleanField(default=False)
    timeout_count = models.PositiveSmallIntegerField(default=0)
    failure_count = models.PositiveSmallIntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    deactivated_at = models.DateTimeField(null=True)
    last_run_at = models.DateTimeField(null=True)
    last_seconds = models.FloatField(null=True)
    last_result = models.CharField(max_length=10, choices=Result.choices, blank=True, default="")
    last_counts = models.JSONField(default=dict)
    last_error = models.TextField(blank=True, default="")
    last_success_at = models.DateTimeField(null=True)
    positions = models.JSONField(default=dict)

    objects: ClassVar[ScheduledActionQuerySet] = ScheduledActionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "key"], name="action_once")]
        indexes = [
            models.Index(fields=["next_call_at"], condition=Q(is_active=True), name="action_due"),
            models.Index(fields=["leased_until"], condition=~Q(lease=""), name="action_leased"),
            models.Index(fields=["last_run_at"], condition=Q(is_unfinished=True), name="action_goes_on"),
        ]

    def __str__(self) -> str:
        return f"{self.workspace} · {self.key}"

    @property
    def is_running(self) -> bool:
        """Does a worker have it in hand?"""
        return bool(self.lease)


class Trigger(models.Model):
    """Lets an action run at `at` (a full minute), before its next call is due.

    Each transaction that asks adds a row of its own, so that nobody waits for another's; one run uses up all
    that are due.
    `is_by_hand`: somebody pressed Run Manually, which holds for an action that is switched off, too.
    """

    classified = Classified(kept=Kept.LIMITED, plain=("id", "action", "at", "is_by_hand", "created_at"))
    action = models.ForeignKey(ScheduledAction, models.CASCADE, related_name="triggers")
    at = models.DateTimeField()
    is_by_hand = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["at"], name="trigger_due")]

    def __str__(self) -> str:
        return f"{self.action_id} {self.at:%Y-%m-%d %H:%M}"
