"""What people type about limits: members who ask for more, operators who decide."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.flows import features as known_features
from postroom.flows import limit_requests
from postroom.workspaces.models import Plan
from postroom.workspaces.plans import FLOOR, PLAN_LIMITS

LARGEST = 10_000_000


class LimitField(forms.IntegerField):
    """A number of emails a day, at least the floor."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=FLOOR, max_value=LARGEST, **kwargs)
        self.error_messages["invalid"] = gettext_lazy("Write a whole number, such as 500.")
        self.widget.attrs["inputmode"] = "numeric"


class AskForm(forms.Form):
    """A higher limit is asked for."""

    wanted = LimitField(label=gettext_lazy("Emails a day"))
    reason = forms.CharField(
        label=gettext_lazy("Why do you need them?"),
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=2000,
        help_text=gettext_lazy("What you send, to whom, and how often. The operator reads this."),
    )

    def __init__(self, *args: Any, limit: int | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit = limit

    def clean_wanted(self) -> int:
        """It has to be more than there is."""
        wanted: int = self.cleaned_data["wanted"]
        if self._limit is not None and wanted <= self._limit:
            words = _("The limit is %(limit)d already. Ask for more than that.")
            raise forms.ValidationError(words % {"limit": self._limit})
        return wanted


def _plans() -> list[tuple[str, str]]:
    """Each plan with its figure."""
    figures = [(plan, PLAN_LIMITS[plan]) for plan in Plan]
    return [
        (plan.value, f"{plan.label} · {figure}" if figure else str(plan.label)) for plan, figure in figures
    ]


class PlanForm(forms.Form):
    """The plan of a workspace, and a figure of its own (none: that of the plan)."""

    plan = forms.ChoiceField(label=gettext_lazy("Plan"), choices=_plans)
    limit = LimitField(
        label=gettext_lazy("Emails a day"),
        required=False,
        help_text=gettext_lazy("Empty: the figure of the plan."),
    )
    features = forms.MultipleChoiceField(
        label=gettext_lazy("Features in use"),
        required=False,
        choices=list(known_features.KNOWN.items()),
        widget=forms.CheckboxSelectMultiple,
    )


class DecisionForm(forms.Form):
    """What becomes of the open request; its number says which one was seen."""

    request = forms.IntegerField(widget=forms.HiddenInput)
    decision = forms.ChoiceField(choices=[("grant", "grant"), ("decline", "decline")])
    granted = LimitField(label=gettext_lazy("Emails a day"), required=False)
    answer = forms.CharField(
        label=gettext_lazy("A line for whoever asked"),
        required=False,
        max_length=limit_requests.ANSWER_LENGTH,
    )

    def clean(self) -> dict[str, Any]:
        """To grant, a figure is needed."""
        cleaned = super().clean() or {}
        is_granting = cleaned.get("decision") == "grant"
        if is_granting and cleaned.get("granted") is None and "granted" not in self.errors:
            self.add_error("granted", _("Write how many emails a day."))
        return cleaned
