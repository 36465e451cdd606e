"""What people type about scheduled actions."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.flows.action_settings import LONGEST_INTERVAL, LOWEST_PRIORITY
from postroom.schedule.models import ScheduledAction
from postroom.schedule.planning import zone_of
from postroom.web.forms import ZoneField
from postroom.web.later_forms import LocalTimeField

NAMES = ("is_active", "interval", "unit", "time_zone", "priority")


class ActionForm(forms.Form):
    """When an action runs. Its next call is typed as the clock of its own zone shows it."""

    is_active = forms.BooleanField(label=gettext_lazy("Switched on"), required=False)
    interval = forms.IntegerField(
        label=gettext_lazy("Every"),
        min_value=1,
        max_value=LONGEST_INTERVAL,
        help_text=gettext_lazy(
            "A shorter interval counts from now, a longer one from the next call that is planned already."
        ),
    )
    unit = forms.ChoiceField(label=gettext_lazy("Unit"), choices=ScheduledAction.Unit.choices)
    next_call = LocalTimeField(label=gettext_lazy("Next call"))
    time_zone = ZoneField(label=gettext_lazy("Time zone"), required=False)
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        min_value=0,
        max_value=LOWEST_PRIORITY,
        help_text=gettext_lazy("Of several that are due, the lowest number runs first."),
    )

    def __init__(self, typed: Any = None, *, action: ScheduledAction) -> None:
        zone = zone_of(action)
        local = action.next_call_at.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0)
        initial = {name: getattr(action, name) for name in ("is_active", "interval", "unit", "priority")}
        super().__init__(typed, initial={**initial, "next_call": local, "time_zone": action.time_zone})
        words = _("By the clock of %(zone)s. Days, weeks and months keep this hour, in summer and winter.")
        self.fields["next_call"].help_text = words % {"zone": zone.key}
        words = _("Whose clock it keeps. Empty: that of the workspace, %(zone)s.")
        self.fields["time_zone"].help_text = words % {"zone": action.workspace.time_zone}

    def clean(self) -> dict[str, Any]:
        """The next call is given only where it, or whose clock it is meant by, is new."""
        cleaned = super().clean() or {}
        if {"next_call", "time_zone"} <= cleaned.keys() and {"next_call", "time_zone"} & set(
            self.changed_data
        ):
            cleaned["next_call_at"] = cleaned["next_call"]
        return cleaned

    @property
    def changes(self) -> dict[str, Any]:
        """What is to be another than before, by the names that `flows.action_settings.change` knows."""
        names = [name for name in NAMES if name in self.changed_data]
        found = {name: self.cleaned_data[name] for name in names}
        if "next_call_at" in self.cleaned_data:
            found["next_call_at"] = self.cleaned_data["next_call_at"]
        return found
