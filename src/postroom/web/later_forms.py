"""Times that people choose: in their own zone where the browser tells it, else in UTC, as the page says."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.web.forms import ComposerForm, IdsField

FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class LocalTimeInput(forms.DateTimeInput):
    """The browser's own field; the script turns `data-utc` into the reader's zone."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(format=FORMATS[0])

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """A time that is aware is shown in UTC, and named as such."""
        context = super().get_context(name, _in_utc(value), attrs)
        if isinstance(value, datetime):
            context["widget"]["attrs"]["data-utc"] = f"{_in_utc(value):{FORMATS[0]}}Z"
        return context


def _in_utc(value: Any) -> Any:
    return (
        value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value
    )


class LocalTimeField(forms.DateTimeField):
    """Year to minute as typed, without a zone: the form's `zone` says which is meant."""

    widget = LocalTimeInput

    def __init__(self, **options: Any) -> None:
        super().__init__(input_formats=FORMATS, **options)

    def prepare_value(self, value: Any) -> Any:
        """As it is: the widget knows what to do with an aware time."""
        return value

    def to_python(self, value: Any) -> Any:
        """The time as typed."""
        typed = super().to_python(value)
        return typed.replace(tzinfo=None) if typed is not None else None


class TimedForm(forms.Form):
    """A time and the zone that it is meant in."""

    at = LocalTimeField(label=gettext_lazy("Date and time"))
    zone = forms.CharField(required=False, max_length=60, widget=forms.HiddenInput, initial="UTC")

    def clean(self) -> dict[str, Any]:
        """`at` becomes aware, and has to lie ahead."""
        cleaned = super().clean() or {}
        if isinstance(cleaned.get("at"), datetime):
            cleaned["at"] = self._aware(cleaned["at"], cleaned.get("zone") or "UTC")
        return cleaned

    def _aware(self, typed: datetime, zone: str) -> datetime | None:
        try:
            at = typed.replace(tzinfo=zoneinfo.ZoneInfo(zone)).astimezone(UTC)
        except (KeyError, ValueError, OSError, OverflowError):
            words = _("The time zone %(zone)s is not known here. Choose the time in UTC.")
            self.add_error("at", words % {"zone": zone})
            return None
        if at <= timezone.now():
            self.add_error("at", _("That time has passed. Choose one that lies ahead."))
        return at


class LaterComposerForm(TimedForm, ComposerForm):
    """What is to be said, at once or at a time.

    `replaces` is the number of a scheduled message that this takes the place of, `kept` are the places of its
    files that go along.
    """

    POST, SEND = "post", "send"
    at = LocalTimeField(label=gettext_lazy("Date and time"), required=False)
    when = forms.ChoiceField(
        label=gettext_lazy("At that time"),
        required=False,
        widget=forms.RadioSelect,
        initial=POST,
        choices=[
            (POST, gettext_lazy("Post the message, and tell everybody")),
            (SEND, gettext_lazy("Let the emails leave; post the message now")),
        ],
    )
    replaces = forms.IntegerField(required=False, widget=forms.HiddenInput, min_value=1, max_value=2**62)
    kept = IdsField(required=False)

    @property
    def is_later_open(self) -> bool:
        """Is a time chosen, or wrong, so that the part with the times is open?"""
        return bool(self["at"].value() or self["at"].errors)
