"""Email service providers whose API takes our mail: what each wants to know, and what may be told to whom.

The names of the options are those of django-anymail, which speaks the APIs. A provider is reached at hosts of
its own only: a region is chosen from those that are known here, and an address of an API (`API_URL`) is for
operators, because whoever names a host makes this machine talk to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from postroom.outgoing.models import MailServer

API_URL: Final = "api_url"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._/@+-]{1,253}")
_MOST_CHARACTERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Option:
    """One thing a provider wants to know. With `choices` it is one of those, the first if left empty."""

    name: str
    label: str | Promise
    is_secret: bool = False
    is_required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider: `module` is its back end in django-anymail.

    `regions` are the addresses of its API by region, where it has several. `takes_reverse_path`: reports of
    what bounces come back to the address that we name. `kept_headers` (None: all) and `dropped_headers`, in
    lower case, say which header fields its API lets us set; `own_headers` are added. `account_errors` are
    codes in its answers that are about the account and not about one mail.
    """

    key: str
    label: str
    module: str
    options: tuple[Option, ...]
    regions: Mapping[str, str] = field(default_factory=dict)
    takes_reverse_path: bool = False
    kept_headers: frozenset[str] | None = None
    dropped_headers: frozenset[str] = frozenset()
    own_headers: tuple[tuple[str, str], ...] = ()
    account_errors: frozenset[str] = frozenset()
    needs_api_url: bool = False

    def option(self, name: str) -> Option | None:
        """The option of that name; None if it has none."""
        return next((option for option in self.options if option.name == name), None)


_API_KEY: Final = _("API key")


def _key(name: str = "api_key", label: str | Promise = _API_KEY) -> Option:
    return Option(name, label, is_secret=True)


def _region(regions: Mapping[str, str]) -> Option:
    return Option("region", _("Region"), is_required=False, choices=tuple(regions))


_MAILGUN: Final = {"us": "https://api.mailgun.net/v3/", "eu": "https://api.eu.mailgun.net/v3/"}
_SENDGRID: Final = {"global": "https://api.sendgrid.com/v3/", "eu": "https://api.eu.sendgrid.com/v3/"}
_SPARKPOST: Final = {
    "us": "https://api.sparkpost.com/api/v1/",
    "eu": "https://api.eu.sparkpost.com/api/v1/",
}
_UNISENDER: Final = {
    "go1": "https://go1.unisender.ru/ru/transactional/api/v1/",
    "go2": "https://go2.unisender.ru/ru/transactional/api/v1/",
}

_ALL: Final = (
    Provider(
        "amazon_ses",
        "Amazon SES",
        "amazon_ses",
        (
            Option("aws_access_key_id", _("Access key ID")),
            _key("aws_secret_access_key", _("Secret access key")),
            Option("region_name", _("Region, such as eu-west-1")),
            Option("configuration_set_name", _("Configuration set"), is_required=False),
        ),
        takes_reverse_path=True,
    ),
    Provider("brevo", "Brevo", "brevo", (_key(),)),
    Provider(
        "mailersend",
        "MailerSend",
        "mailersend",
        (_key("api_token", _("API token")),),
        kept_headers=frozenset({"in-reply-to", "precedence"}),  # the others only in the largest plans
    ),
    # Mailgun and Mandrill take a domain only, which has to be one of theirs, and bounces go to themselves.
    Provider(
        "mailgun",
        "Mailgun",
        "mailgun",
        (
            _key(),
            Option("sender_domain", _("Sending domain, if it is not that of the author"), is_required=False),
            _region(_MAILGUN),
        ),
        regions=_MAILGUN,
    ),
    Provider(
        "mailjet",
        "Mailjet",
        "mailjet",
        (_key(), _key("secret_key", _("Secret key"))),
        dropped_headers=frozenset({"message-id", "list-id", "sender", "user-agent", "x-mailer"}),
    ),
    Provider(
        "mailtrap",
        "Mailtrap",
        "mailtrap",
        (_key("api_token", _("API token")), Option("sandbox_id", _("Sandbox ID"), is_required=False)),
    ),
    Provider(
        "mandrill",
        "Mandrill",
        "mandrill",
        (_key(),),
        account_errors=frozenset({"Invalid_Key", "PaymentRequired", "Unknown_Subaccount"}),
    ),
    Provider("postal", "Postal", "postal", (_key(),), takes_reverse_path=True, needs_api_url=True),
    Provider(
        "postmark",
        "Postmark",
        "postmark",
        (
            _key("server_token", _("Server API token")),
            Option("message_stream", _("Message stream"), is_required=False),
        ),
        own_headers=(("X-PM-KeepID", "true"),),
        account_errors=frozenset({"10", "405"}),  # its token is not known; it has no credit left
    ),
    Provider("resend", "Resend", "resend", (_key(),)),
    Provider(
        "scaleway",
        "Scaleway",
        "scaleway",
        (
            _key("secret_key", _("Secret key")),
            Option("project_id", _("Project ID")),
            Option("region", _("Region"), is_required=False, choices=("fr-par",)),
        ),
    ),
    Provider("sendgrid", "SendGrid", "sendgrid", (_key(), _region(_SENDGRID)), regions=_SENDGRID),
    Provider(
        "sparkpost",
        "SparkPost",
        "sparkpost",
        (_key(), Option("subaccount", _("Subaccount"), is_required=False), _region(_SPARKPOST)),
        regions=_SPARKPOST,
        takes_reverse_path=True,
    ),
    Provider(
        "unisender_go", "Unisender Go", "unisender_go", (_key(), _region(_UNISENDER)), regions=_UNISENDER
    ),
)
PROVIDERS: Final[Mapping[str, Provider]] = {provider.key: provider for provider in _ALL}


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider. `repr` never shows what is secret."""

    provider: Provider
    options: Mapping[str, str] = field(repr=False)
    verify_certificate: bool = True  # nobody can turn that off for an API

    @property
    def address(self) -> str:
        """The address of the API, if the account names one or its provider has several; else empty."""
        regions = self.provider.regions
        chosen = regions.get(self.options.get("region", "")) or next(iter(regions.values()), "")
        return self.options.get(API_URL, "") or chosen

    @property
    def is_tls(self) -> bool:
        """Is what we say to the API encrypted? At the addresses that django-anymail knows it is."""
        return not self.address.lower().startswith("http:")

    def settings(self) -> dict[str, Any]:
        """What the back end is made with."""
        given = {name: value for name, value in self.options.items() if value and name != API_URL}
        if self.provider.key == "amazon_ses":
            return _for_amazon(given)
        if self.provider.regions:
            given.pop("region", None)
        return {**given, API_URL: self.address} if self.address else given


def account_of(server: MailServer) -> Account:
    """The account that a server stands for. Raises ValueError, which names the remedy."""
    provider = PROVIDERS.get(server.esp)
    if provider is None:
        raise ValueError(f"The provider “{server.esp}” is not known. Choose one of {', '.join(PROVIDERS)}.")
    options = options_of(server.esp_options)
    missing = [
        option.name for option in provider.options if option.is_required and not options.get(option.name)
    ]
    if provider.needs_api_url and not options.get(API_URL):
        missing.append(API_URL)
    if missing:
        raise ValueError(f"{provider.label} needs {', '.join(missing)} as well. Enter it with the server.")
    return Account(provider, options)


def options_of(sealed_text: str) -> dict[str, str]:
    """What `MailServer.esp_options` holds once it is opened. Raises ValueError."""
    found = json.loads(sealed_text or "{}")
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("The options of a provider are a JSON object of texts. Enter them anew.")
    return found


def merged(provider: Provider, stored: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What is stored, changed by what is given: an empty secret stays as it is, another empty one goes."""
    known = {**stored, **{name: value.strip() for name, value in given.items()}}
    for option in provider.options:
        if option.is_secret and not known.get(option.name) and stored.get(option.name):
            known[option.name] = stored[option.name]
    return {name: value for name, value in known.items() if value}


def wrong_option(provider: Provider, options: Mapping[str, str]) -> str:
    """The name of an option that cannot be used as it is; empty if all can."""
    return next((name for name, value in options.items() if not _is_usable(provider, name, value)), "")


def _is_usable(provider: Provider, name: str, value: str) -> bool:
    if name == API_URL:
        return value.lower().startswith(("https://", "http://")) and value.isprintable()
    option = provider.option(name)
    if option is None:
        return False
    if option.is_secret:  # it goes into header fields of HTTP
        return value.isascii() and value.isprintable() and len(value) <= _MOST_CHARACTERS
    return value in option.choices if option.choices else bool(_PLAIN.fullmatch(value))


def secret_names(providers: Sequence[Provider] = _ALL) -> frozenset[str]:
    """The names of all options that are never shown."""
    return frozenset(option.name for each in providers for option in each.options if option.is_secret)


def _for_amazon(given: dict[str, Any]) -> dict[str, Any]:
    """Its library would try again by itself, even what may have been taken: it is told not to."""
    names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
    client = {name: given.pop(name) for name in names if name in given}
    config = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
    return {**given, "client_params": {**client, "config": config}}
