"""/actions: the scheduled actions of the key's workspace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import Field

from postroom.api.callers import key_of
from postroom.api.problems import not_found, only_for
from postroom.api.records import READ_PROBLEMS, WRITE_PROBLEMS
from postroom.api.shapes import Asked
from postroom.flows import acting, action_settings
from postroom.flows.action_settings import LONGEST_INTERVAL, LOWEST_PRIORITY
from postroom.flows.action_shapes import ActionShape, ChangedActionShape, actions_to_show, shape_of_action
from postroom.schedule.models import ScheduledAction
from postroom.workspaces.models import Member

router = Router(tags=["actions"])
# The flow refuses what lies outside, and says so in words; the bounds here are for the documentation.
Interval = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": LONGEST_INTERVAL})]
Priority = Annotated[int, Field(json_schema_extra={"minimum": 0, "maximum": LOWEST_PRIORITY})]


class ActionToChange(Asked):
    """What is changed of an action; what is left out stays."""

    is_active: bool = True
    interval: Interval = Field(1, description="How many of the unit; at least 5 minutes.")
    unit: Literal["minutes", "hours", "days", "weeks", "months"] = "minutes"
    next_call_at: datetime | None = Field(
        None,
        description="Without an offset it is meant by the clock of the action's time zone; days, weeks and "
        "months keep that hour.",
    )
    time_zone: str = Field("", max_length=64, description="An IANA name; empty: that of the workspace.")
    priority: Priority = Field(5, description="Of several that are due, the lowest runs first.")


@dataclass(frozen=True, slots=True)
class ActionList:
    """All scheduled actions of the workspace."""

    data: list[ActionShape]


@router.get("", response={200: ActionList, **READ_PROBLEMS})
def list_actions(request: HttpRequest) -> ActionList:
    """All of them, with their state. Only for keys that act as an administrator."""
    return ActionList([shape_of_action(action) for action in actions_to_show(_admin_of(request))])


@router.get("/{key}", response={200: ActionShape, **READ_PROBLEMS})
def get_action(request: HttpRequest, key: str) -> ActionShape:
    """One of them, such as mail_queue. Only for keys that act as an administrator."""
    return shape_of_action(_action(_admin_of(request), key))


@router.patch("/{key}", response={200: ChangedActionShape, **WRITE_PROBLEMS})
def change_action(request: HttpRequest, key: str, payload: ActionToChange) -> ChangedActionShape:
    """Change when it runs, or switch it on or off. Only for keys that act as an administrator.

    While it runs, that is refused with 409 and `action_running`; nothing is changed then.
    """
    by = _admin_of(request)
    action = _action(by, key)
    given = {name: getattr(payload, name) for name in payload.model_fields_set}
    return _changed(by, key, action_settings.change(action, by, **given))


@router.post("/{key}/run", response={202: ChangedActionShape, **WRITE_PROBLEMS})
def run_action(request: HttpRequest, key: str) -> Status[ChangedActionShape]:
    """Run Manually: it begins as soon as the engine comes to it, also if it is switched off.

    While it runs, that is refused with 409 and `action_running`. Only for keys that act as an administrator.
    """
    by = _admin_of(request)
    return Status(202, _changed(by, key, acting.run_now(_action(by, key), by)))


def _changed(by: Member, key: str, warnings: Iterable[str]) -> ChangedActionShape:
    """As it is in the database now."""
    return ChangedActionShape(shape_of_action(_action(by, key)), list(warnings))


def _admin_of(request: HttpRequest) -> Member:
    member = key_of(request).member
    if not member.is_admin:
        raise only_for("an administrator")
    return member


def _action(by: Member, key: str) -> ScheduledAction:
    found = actions_to_show(by).filter(key=key).first()
    if found is None:
        raise not_found()
    return found
