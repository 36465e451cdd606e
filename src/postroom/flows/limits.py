"""The daily limit as people meet it: what is used, what waits, how long something will take, who sets it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom.conversations.models import Alias, Notification
from postroom.conversations.models.records import Record, Stream
from postroom.diagnostics.events import EventKind, note
from postroom.flows.founding import WORKSPACE_MODEL
from postroom.flows.notices import tell_admins
from postroom.outgoing import allowances, gates
from postroom.outgoing.allowances import Crossing
from postroom.outgoing.expecting import day_window, leaves_at
from postroom.outgoing.models import Email, FailureKind, Lane, MailServer, State
from postroom.workspaces import parameters, plans
from postroom.workspaces.models import MailDomain, Member, Plan, Workspace
from postroom.workspaces.plans import Factors
from postroom.workspaces.refusals import RequestRefused

COUNTED_TO = 10_000
LOOKED_BACK = timedelta(days=30)
LARGEST = 10_000_000
NEARLY_USED, USED_UP = "daily_limit_80", "daily_limit_100"
FAILING = "daily_limit_failing"


@dataclass(frozen=True, slots=True)
class Usage:
    """One day of a workspace's daily limit; `limit` and `left` are None where there is none.

    `used` counts what was handed to the shared relay and what is in hand; without a limit nothing is counted.
    `urgent_kept` of the limit bulk mail leaves alone. `held_count` is how many Emails wait because of the
    limit, counted up to COUNTED_TO; `held_last_at` is about when the last of them leaves, None if none waits.
    """

    limit: int | None
    used: int
    left: int | None
    resets_at: datetime
    is_warning: bool
    is_exhausted: bool
    held_count: int
    urgent_kept: int
    held_last_at: datetime | None = None

    @property
    def is_held_for_days(self) -> bool:
        """Does what waits need more than the next day of the limit?"""
        return self.held_last_at is not None and self.held_last_at > self.resets_at


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long the daily limit makes something take.

    `days` is on how many days of the limit it leaves, today's counted even if nothing is left of it;
    `last_leaves_on` the date in UTC of the last, None where no limit holds anything up. `waiting_before`
    is how many counted Emails go first.
    """

    fits_today: bool
    days: int
    last_leaves_on: date | None
    waiting_before: int


def usage(workspace: Workspace, *, now: datetime | None = None) -> Usage:
    """What is used of today's limit."""
    now = now or timezone.now()
    limit, resets_at = plans.limit_of(workspace), plans.resets_at(now)
    if limit is None:
        return Usage(None, 0, None, resets_at, False, False, 0, 0)
    used = allowances.used_today(workspace.pk, now)
    held_count = _held_count(workspace, now)
    return Usage(
        limit=limit,
        used=used,
        left=max(0, limit - used),
        resets_at=resets_at,
        is_warning=plans.is_near(used, limit),
        is_exhausted=used >= limit,
        held_count=held_count,
        urgent_kept=plans.kept_for_urgent(limit, parameters.value(workspace.pk, plans.URGENT_SHARE)),
        held_last_at=_held_last_at(workspace, limit, held_count, resets_at) if held_count else None,
    )


def _held_last_at(workspace: Workspace, limit: int, held_count: int, resets_at: datetime) -> datetime:
    bulk = _shared_lanes(workspace).filter(
        held_because__in=allowances.DAILY_HOLDS, stream=Stream.BULK, emails__state=State.OUTGOING
    )
    window = day_window(workspace.pk, limit, is_urgent=not bulk.exists(), at=resets_at)
    return leaves_at(resets_at, held_count - 1, [window])


def forecast(
    workspace: Workspace, recipients: int, stream: Stream | str, *, now: datetime | None = None
) -> Forecast:
    """When so many more recipients would have their mail over the shared relay, after what already waits.

    Bulk mail waits behind all counted mail and leaves urgent mail its share of every day; urgent mail waits
    behind urgent mail only.
    """
    now = now or timezone.now()
    limit = plans.limit_of(workspace)
    if limit is None:
        return Forecast(True, 1, None, 0)
    is_urgent = stream == Stream.URGENT
    before = _waiting_count(workspace, is_urgent=is_urgent)
    window = day_window(workspace.pk, limit, is_urgent=is_urgent, at=now)
    days_later = window.restart_count(before + recipients - 1) if before + recipients else 0
    return Forecast(days_later == 0, days_later + 1, _leaves_on(now, days_later), before)


def _leaves_on(now: datetime, days_later: int) -> date:
    if days_later == 0:
        return now.date()
    return (plans.resets_at(now) + timedelta(days=days_later - 1)).date()


def _held_count(workspace: Workspace, now: datetime) -> int:
    held = _shared_lanes(workspace).filter(held_because__in=allowances.DAILY_HOLDS, held_until__gt=now)
    waiting = Email.objects.waiting().filter(gates.is_released(), lane__in=held.values("pk"), due_at__lte=now)
    return waiting.values("pk")[:COUNTED_TO].count()


def _waiting_count(workspace: Workspace, *, is_urgent: bool) -> int:
    lanes = _shared_lanes(workspace)
    lanes = lanes.filter(stream=Stream.URGENT) if is_urgent else lanes
    return Email.objects.waiting().filter(lane__in=lanes.values("pk")).count()


def _shared_lanes(workspace: Workspace) -> QuerySet[Lane]:
    """The lanes that the shared relay carries, whose Emails count."""
    shared = MailServer.objects.filter(workspace=None)
    carried = Lane.objects.alias(carrier=Coalesce("via_id", "server_id"))
    return carried.filter(workspace=workspace, carrier__in=shared.values("pk"))


def failed_count(workspace: Workspace) -> int:
    """How many Emails failed because of the limit and were not ignored, counted up to COUNTED_TO."""
    failed = Email.objects.filter(workspace=workspace, state=State.FAILED, ignored_at=None)
    return failed.filter(failure_kind=FailureKind.DAILY_LIMIT).values("pk")[:COUNTED_TO].count()


# What an operator decides.


def set_limit(workspace: Workspace, limit: int | None, plan: str | None = None, *, by: Member) -> None:
    """Set a workspace's own figure (None: that of the plan) and its plan (None: as it is).

    What waited for the limit is looked at again at once. Raises RequestRefused, and then nothing was changed,
    for a figure under the floor, an unknown plan, or if `by` is no operator.
    """
    _refuse_unless_allowed(limit, plan, by)
    day = allowances.quota_account(workspace.pk, plans.quota_day(timezone.now()))
    with transaction.atomic():
        allowances.lock([day])  # a claim that reads the old figure holds no lane after this
        row = Workspace.objects.select_for_update().get(pk=workspace.pk)
        before = {"plan": row.plan, "limit": row.daily_limit}
        row.plan, row.daily_limit = plan or row.plan, limit
        row.save(update_fields=["plan", "daily_limit"])
        allowances.release_lanes(workspace_ids=[row.pk])
        after = {"plan": row.plan, "limit": row.daily_limit}
        note(EventKind.LIMIT_SET, workspace=row, member=by, before=_told(before), after=_told(after))
    workspace.plan, workspace.daily_limit = row.plan, row.daily_limit


def _refuse_unless_allowed(limit: int | None, plan: str | None, by: Member) -> None:
    if not by.is_operator:
        raise RequestRefused(_("Only an operator may do this."))
    if limit is not None and not plans.FLOOR <= limit <= LARGEST:
        words = _("A daily limit is at least %(floor)d and at most %(largest)d emails.")
        raise RequestRefused(words % {"floor": plans.FLOOR, "largest": LARGEST})
    if plan is not None and plan not in Plan.values:
        words = _("There is no plan %(plan)s. Choose from: %(known)s.")
        raise RequestRefused(words % {"plan": plan, "known": ", ".join(Plan.values)})


def _told(figures: Mapping[str, object]) -> str:
    return f"{figures['plan']}, {figures['limit']}" if figures["limit"] else str(figures["plan"])


def factors_of(workspace: Workspace, *, now: datetime | None = None) -> Factors:
    """What a decision on the limit rests on, counted over the last 30 days."""
    sent, bounced = _sent_and_bounced(workspace, (now or timezone.now()) - LOOKED_BACK)
    own = MailDomain.objects.filter(workspace=workspace).exclude(domain=workspace.subdomain)
    aliases = Alias.objects.filter(workspace=workspace).exclude(model=WORKSPACE_MODEL)
    servers = MailServer.objects.filter(workspace=workspace, is_active=True)
    return Factors(
        member_count=Member.objects.active().filter(workspace=workspace).count(),
        feature_names=tuple(filter(None, workspace.features.split(","))),
        record_model_count=_record_model_count(workspace),
        sent_30_days=sent,
        bounced_30_days=bounced,
        bounce_rate=bounced / sent if sent else 0.0,
        has_aliases=aliases.exists(),
        has_own_domain=own.exists(),
        is_domain_set_up=_are_set_up(own.values_list("dns_findings", flat=True)),
        has_own_server=servers.exists(),
    )


def _sent_and_bounced(workspace: Workspace, since: datetime) -> tuple[int, int]:
    """How many a server answered for good, and how many of them came back or were refused."""
    is_returned = Q(state=State.FAILED, failure_kind__in=(FailureKind.BOUNCED, FailureKind.REFUSED))
    counts = Email.objects.filter(workspace=workspace, first_attempt_at__gte=since).aggregate(
        sent=Count("pk", filter=Q(state=State.SENT) | is_returned), bounced=Count("pk", filter=is_returned)
    )
    return counts["sent"], counts["bounced"]


def _record_model_count(workspace: Workspace) -> int:
    records = Record.objects.filter(workspace=workspace).exclude(model=WORKSPACE_MODEL)
    return records.values("model").distinct().count()


def _are_set_up(findings: Iterable[dict[str, dict[str, object]]]) -> bool:
    """Was SPF, DKIM and DMARC found in order for one domain at least?"""
    wanted = ("spf", "dkim", "dmarc")
    return any(all(found.get(kind, {}).get("is_ok") for kind in wanted) for found in findings)


# What a claim found.


def tell_crossings(crossings: Iterable[Crossing]) -> None:
    """Tell administrators that most of a day's limit, or all of it, is used: each once a day."""
    for crossing in crossings:
        reasons = (USED_UP, FAILING) if crossing.is_all else (NEARLY_USED,)
        told = Notification.objects.filter(
            workspace_id=crossing.workspace_id, reason__in=reasons, created_at__gte=crossing.day_started_at
        )
        if not told.exists():
            waits = parameters.value(crossing.workspace_id, plans.AUTO_RESUME)
            reason = reasons[0] if waits else reasons[-1]
            tell_admins(Workspace.objects.get(pk=crossing.workspace_id), reason)
