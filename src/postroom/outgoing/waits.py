"""What a gated Email waits for: which scheduled action, when that runs, and which campaign goes first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Min

from postroom.outgoing import gates, turns
from postroom.outgoing.models import Email
from postroom.schedule.catalogue import MAIL_QUEUE, SHIPPED
from postroom.schedule.models import ScheduledAction


@dataclass(frozen=True, slots=True)
class Wait:
    """What lets an Email go: a scheduled action, or the end of an earlier campaign.

    `runs_at` is when the action runs next; None if nobody can say, because it `is_off` or because `campaign`
    (the subject of the one that has to leave first) is not through. `campaign` "": none is in the way.
    """

    key: str
    runs_at: datetime | None
    is_off: bool = False
    campaign: str = ""

    @property
    def action_name(self) -> str:
        """The name of the action, the same in every language."""
        return SHIPPED[self.key].name


def waits_of(emails: Iterable[Email], now: datetime) -> dict[int, Wait]:
    """By id, for those of these Emails that a gate keeps (their lanes must be loaded).

    No question if there is none, else one for each workspace's actions, and two more where mailings wait.
    """
    shut = [email for email in emails if gates.is_shut_for(email)]
    found: dict[int, Wait] = {}
    for workspace_id in {email.lane.workspace_id for email in shut}:
        of_it = [email for email in shut if email.lane.workspace_id == workspace_id]
        here = _Here(workspace_id, now, has_mailings=any(email.lane.message_id for email in of_it))
        found |= {email.pk: here.wait_of(email) for email in of_it}
    return found


def wait_for_queue(workspace_id: int) -> Wait:
    """What bulk mail that is posted now, and is no mailing, will wait for."""
    return _wait(MAIL_QUEUE, _actions_of(workspace_id))


class _Here:
    """One workspace: its actions, and the mailing that leaves first."""

    def __init__(self, workspace_id: int, now: datetime, *, has_mailings: bool) -> None:
        self.actions = _actions_of(workspace_id)
        self.mailing_key = turns.action_key(workspace_id) if has_mailings else MAIL_QUEUE
        self.head = turns.head_of(workspace_id, now) if has_mailings else None

    def wait_of(self, email: Email) -> Wait:
        if email.lane.message_id is None:
            return _wait(MAIL_QUEUE, self.actions)
        if self.head is not None and self.head.message_id != email.lane.message_id:
            return Wait(self.mailing_key, None, campaign=self.head.subject or f"#{self.head.message_id}")
        return _wait(self.mailing_key, self.actions)


_Actions = Mapping[str, tuple[bool, datetime, datetime | None]]


def _actions_of(workspace_id: int) -> _Actions:
    rows = ScheduledAction.objects.filter(workspace_id=workspace_id, key__in=SHIPPED)
    asked = rows.annotate(asked_at=Min("triggers__at"))
    return {key: rest for key, *rest in asked.values_list("key", "is_active", "next_call_at", "asked_at")}  # type: ignore[misc]


def _wait(key: str, actions: _Actions) -> Wait:
    if key not in actions:
        return Wait(key, None)
    is_active, next_call_at, asked_at = actions[key]
    if not is_active:
        return Wait(key, None, is_off=True)
    return Wait(key, min(next_call_at, asked_at or next_call_at))
