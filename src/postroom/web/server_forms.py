"""What people type about outgoing servers. What is stored as a secret is never shown again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from postroom.flows import esp_settings
from postroom.outgoing.esp import Option, Provider
from postroom.outgoing.models import MailServer
from postroom.workspaces.models import Member

if TYPE_CHECKING:
    _OfServer = forms.ModelForm[MailServer]
else:  # the class takes no parameter when it runs
    _OfServer = forms.ModelForm

LIMITS = ["connection_limit", "limit_per_minute", "limit_per_hour", "limit_per_day", "max_size_megabytes"]
#: Input of the form → its key in the JSON object that OAuth 2.0 needs.
OAUTH = {
    "oauth_token_url": "token_url",
    "oauth_client_id": "client_id",
    "oauth_client_secret": "client_secret",
    "oauth_refresh_token": "refresh_token",
}
SHOWN_NEVER = ("password", "client_key", "oauth_client_secret", "oauth_refresh_token")
_STORED = gettext_lazy("Stored, and never shown again. Leave it empty to keep it.")
_NOT_STORED = gettext_lazy("Stored encrypted, and never shown again.")
_NO_LIMIT = gettext_lazy("Empty: no limit.")
_PEM = {"rows": 4, "spellcheck": "false", "autocomplete": "off"}


class _UnshownTextarea(forms.Textarea):
    """It forgets what was typed, should the form be shown once more."""

    def format_value(self, value: Any) -> None:
        return None


def _secret(label: Any, *, rows: int = 0) -> forms.CharField:
    """An input that is always shown empty."""
    widget: forms.Widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    if rows:
        widget = _UnshownTextarea(attrs={**_PEM, "rows": rows})
    return forms.CharField(label=label, required=False, strip=bool(rows), max_length=20_000, widget=widget)


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that are shown together; `is_folded`: only who needs them opens them."""

    legend: str
    fields: Sequence[forms.BoundField]
    is_folded: bool = False

    def __iter__(self) -> Iterator[forms.BoundField]:
        return iter(self.fields)

    @property
    def is_open(self) -> bool:
        """Nothing that has to be corrected stays folded."""
        return any(field.errors for field in self.fields)


class LimitsForm(_OfServer):
    """How much a server is given; of the shared relay, that is all that can be changed here."""

    class Meta:
        model = MailServer
        fields = LIMITS
        labels = {
            "connection_limit": gettext_lazy("Connections at the same time"),
            "limit_per_minute": gettext_lazy("Emails per minute"),
            "limit_per_hour": gettext_lazy("Emails per hour"),
            "limit_per_day": gettext_lazy("Emails per day"),
            "max_size_megabytes": gettext_lazy("Largest email in MB"),
        }
        help_texts = {
            "connection_limit": gettext_lazy("8 is right for most; ask the provider before you raise it."),
            "limit_per_minute": _NO_LIMIT,
            "limit_per_hour": _NO_LIMIT,
            "limit_per_day": gettext_lazy("Empty: no limit. The day starts at 0:00 UTC."),
            "max_size_megabytes": gettext_lazy("Empty: what the server itself announces."),
        }

    def validate_unique(self) -> None:
        """The flow that stores it says in words what is there twice."""

    def validate_constraints(self) -> None:
        """See `validate_unique`."""

    def filled(self) -> MailServer:
        """The server as the form says, not yet stored."""
        return self.save(commit=False)

    @property
    def groups(self) -> list[Group]:
        """All fields, in the order in which they are shown."""
        return [Group("", list(self))]

    def _group(self, legend: str, *names: str, is_folded: bool = False) -> Group:
        return Group(legend, [self[name] for name in names if name in self.fields], is_folded)


class PersonalServerForm(LimitsForm):
    """A member's own server, which carries nobody else's mail."""

    password = _secret(gettext_lazy("Password"))
    oauth_token_url = forms.URLField(
        label=gettext_lazy("Token address of the provider"), required=False, assume_scheme="https"
    )
    oauth_client_id = forms.CharField(label=gettext_lazy("Client id"), required=False, max_length=500)
    oauth_client_secret = _secret(gettext_lazy("Client secret"))
    oauth_refresh_token = _secret(gettext_lazy("Refresh token"))

    class Meta(LimitsForm.Meta):
        fields = [
            "name", "from_filter", "host", "encryption", "port", "is_certificate_checked", "authentication",
            "user", "limit_per_minute", "limit_per_day",
        ]  # fmt: skip
        labels = {
            **LimitsForm.Meta.labels,
            "name": gettext_lazy("Description"),
            "from_filter": gettext_lazy("FROM Filtering"),
            "host": gettext_lazy("SMTP Server"),
            "encryption": gettext_lazy("Connection Encryption"),
            "port": gettext_lazy("SMTP Port"),
            "is_certificate_checked": gettext_lazy("Check the certificate"),
            "authentication": gettext_lazy("Authenticate with"),
            "user": gettext_lazy("Username"),
            "client_certificate": gettext_lazy("SSL Certificate"),
            "priority": gettext_lazy("Priority"),
            "owner": gettext_lazy("Personal server of"),
            "is_for_campaigns": gettext_lazy("Carries the campaigns"),
        }
        help_texts = {
            **LimitsForm.Meta.help_texts,
            "from_filter": gettext_lazy(
                "Domains and addresses that this server lets you send from, separated by commas, such as "
                "example.com, sales@example.org. Empty: any."
            ),
            "host": gettext_lazy("Its name, such as smtp.example.com."),
            "port": gettext_lazy("Empty: 587 for TLS (STARTTLS), 465 for SSL/TLS, 25 for none."),
            "is_certificate_checked": gettext_lazy(
                "Off, anybody on the way can pretend to be the server and read mail and password. Only for a "
                "server of your own whose certificate no authority has signed."
            ),
            "priority": gettext_lazy("A lower number goes first."),
            "owner": gettext_lazy("Carries only what this member writes. It cannot be changed later."),
            "is_for_campaigns": gettext_lazy("Other mail uses it only if there is no other server."),
            "client_certificate": gettext_lazy("As PEM text, beginning with BEGIN CERTIFICATE."),
        }
        widgets = {
            "from_filter": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "host": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "user": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "client_certificate": forms.Textarea(attrs=_PEM),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["host"].required = True
        self.fields["port"].required = False
        if "client_certificate" not in self.fields:
            ways: Any = self.fields["authentication"]
            ways.choices = [way for way in ways.choices if way[0] != MailServer.Authentication.CERTIFICATE]
            self.fields["from_filter"].help_text = _(
                "Domains and addresses that this server lets you send from. Empty, or with your own address "
                "alone: bounces go to your mailbox, and Postroom does not see them. Name your whole domain "
                "if the server takes it."
            )
        if self.instance.pk is None:
            self.initial["port"] = None
        stored = {"password": "is_password_set", "client_key": "is_client_key_set"}
        stored |= dict.fromkeys(OAUTH, "is_oauth_set")
        for name in stored.keys() & self.fields.keys():
            is_stored = getattr(self.instance, stored[name], False)
            if name in SHOWN_NEVER:
                self.fields[name].help_text = _STORED if is_stored else _NOT_STORED
            elif is_stored:
                self.fields[name].help_text = _("Stored. Leave it empty to keep it.")

    def clean_port(self) -> int:
        """0 means the usual one of the encryption."""
        return self.cleaned_data.get("port") or 0

    def clean(self) -> dict[str, Any]:
        """The access by OAuth 2.0 is entered as a whole."""
        cleaned = super().clean() or {}
        needed = [name for name in OAUTH if name != "oauth_client_secret"]
        if any(cleaned.get(name) for name in OAUTH):
            for name in needed:
                if not cleaned.get(name) and name not in self.errors:
                    self.add_error(name, _("This is needed, too: the access is entered as a whole."))
        return cleaned

    def filled(self) -> MailServer:
        """The server as the form says, not yet stored; an empty secret leaves the stored one alone."""
        server = super().filled()
        for name in ("password", "client_key"):
            if self.cleaned_data.get(name):
                setattr(server, name, self.cleaned_data[name])
        if not server.user:
            server.password = ""
        access = {key: self.cleaned_data[name] for name, key in OAUTH.items() if self.cleaned_data.get(name)}
        if access:
            server.oauth = json.dumps(access)
        return server

    @property
    def groups(self) -> list[Group]:
        """What everybody needs, then what only some do."""
        is_certified = self["authentication"].value() == MailServer.Authentication.CERTIFICATE
        is_oauth = self["authentication"].value() == MailServer.Authentication.XOAUTH2
        connection = ("host", "encryption", "port", "is_certificate_checked")
        groups = [
            self._group("", "name", "priority", "from_filter", "owner", "is_for_campaigns"),
            self._group(_("Connection"), *connection, "authentication", "user", "password"),
            self._group(_("SSL Certificate"), "client_certificate", "client_key", is_folded=not is_certified),
            self._group("OAuth 2.0", *OAUTH, is_folded=not is_oauth),
            self._group(_("Limits"), *LIMITS, is_folded=True),
        ]
        return [group for group in groups if group.fields]


class ServerForm(PersonalServerForm):
    """An outgoing server of the workspace."""

    client_key = _secret(gettext_lazy("Private key"), rows=4)

    class Meta(PersonalServerForm.Meta):
        fields = [
            *PersonalServerForm.Meta.fields,
            "priority",
            "client_certificate",
            "owner",
            "is_for_campaigns",
            *[name for name in LIMITS if name not in PersonalServerForm.Meta.fields],
        ]

    def __init__(self, *args: Any, by: Member, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            del self.fields["owner"]  # what one person entered never becomes another's
            return
        members = Member.objects.active().filter(workspace=by.workspace_id).select_related("user")
        owner: Any = self.fields["owner"]
        owner.queryset = members.order_by("user__email")
        owner.empty_label = _("Nobody: it carries everybody's mail")
        owner.label_from_instance = lambda member: member.user.email


class EspServerForm(LimitsForm):
    """A server of the workspace that stands for an account at a provider, whose API takes its mail."""

    class Meta(PersonalServerForm.Meta):
        fields = ["name", "priority", "from_filter", "is_for_campaigns", *LIMITS]

    def __init__(self, *args: Any, by: Member, provider: Provider, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by, self.provider = by, provider
        stored = esp_settings.stored_options(self.instance, provider)
        self.option_names = {f"esp_{option.name}": option.name for option in provider.options}
        for option in provider.options:
            self.fields[f"esp_{option.name}"] = _option_field(option, stored.get(option.name, ""))

    def filled(self) -> MailServer:
        """The server as the form says, not yet stored. Raises RequestRefused."""
        server = super().filled()
        told = {name: self.cleaned_data.get(field) or "" for field, name in self.option_names.items()}
        esp_settings.choose(server, self.provider.key, told, by=self.by)
        return server

    @property
    def groups(self) -> list[Group]:
        """What everybody needs, then what only some do."""
        return [
            self._group("", "name", "priority", "from_filter", "is_for_campaigns"),
            self._group(self.provider.label, *self.option_names),
            self._group(_("Limits"), *LIMITS, is_folded=True),
        ]


def _option_field(option: Option, stored: str) -> forms.Field:
    """What is secret is shown empty, and may stay so once it is stored."""
    label: Any = option.label
    if option.is_secret:
        field = _secret(label)
        field.help_text = _STORED if stored else _NOT_STORED
        field.required = option.is_required and not stored
        return field
    if option.choices:
        choices = [(each, each) for each in option.choices]
        return forms.ChoiceField(label=label, required=False, choices=choices, initial=stored)
    attributes = {"autocomplete": "off", "spellcheck": "false"}
    return forms.CharField(
        label=label,
        required=option.is_required,
        max_length=253,
        initial=stored,
        widget=forms.TextInput(attrs=attributes),
    )
