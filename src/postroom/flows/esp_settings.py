"""What is written about a server that stands for an account at a provider."""

from __future__ import annotations

import json
from collections.abc import Mapping

from django.utils.translation import gettext as _

from postroom.outgoing import esp
from postroom.outgoing.esp import API_URL, PROVIDERS, Provider
from postroom.outgoing.models import MailServer
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.sealed import SealBroken


def offered() -> list[Provider]:
    """The providers that can be chosen by anybody who may add a server, by name."""
    return sorted(
        (each for each in PROVIDERS.values() if not each.needs_api_url), key=lambda each: each.label
    )


def choose(server: MailServer, key: str, given: Mapping[str, str], *, by: Member) -> None:
    """Let a server stand for an account at the provider of that key; `put_server` then stores it.

    Of its options those that are given change, an empty secret excepted; another provider gets nothing of
    what the one before was told. Raises RequestRefused, and the server is as it was.
    """
    provider = _provider(key)
    if API_URL in given and not by.is_operator:
        raise RequestRefused(
            _("Only an operator may set the address of an API. Leave api_url out, or ask an operator.")
        )
    options = esp.merged(provider, stored_options(server, provider), given)
    server.transport, server.esp = MailServer.Transport.ESP, provider.key
    server.esp_options = json.dumps(options)


def stored_options(server: MailServer, provider: Provider) -> dict[str, str]:
    """What this provider was told so far; nothing if that cannot be read any more."""
    if server.pk is None or server.esp != provider.key:
        return {}
    try:
        return esp.options_of(server.esp_options)
    except (SealBroken, ValueError):
        return {}


def check(server: MailServer) -> None:
    """See that the account is complete. Raises RequestRefused, which names what is missing or wrong."""
    provider = _provider(server.esp)
    if server.owner is not None:
        raise RequestRefused(_("A personal server takes mail by SMTP. Name the SMTP server of the provider."))
    try:
        options = esp.options_of(server.esp_options)
    except ValueError as error:
        raise RequestRefused(_("The options of a provider are a JSON object of texts.")) from error
    wrong = esp.wrong_option(provider, options)
    if wrong:
        raise RequestRefused(_wrong_words(provider, wrong))
    missing = [each for each in provider.options if each.is_required and not options.get(each.name)]
    if missing:
        names = ", ".join(f"{each.label} ({each.name})" for each in missing)
        raise RequestRefused(
            _("%(provider)s needs %(names)s.") % {"provider": provider.label, "names": names}
        )
    if provider.needs_api_url and not options.get(API_URL):
        raise RequestRefused(
            _(
                "%(provider)s runs at an address of its own, which only an operator may set (api_url). "
                "Name its SMTP server instead, or ask an operator."
            )
            % {"provider": provider.label}
        )


def _provider(key: str) -> Provider:
    if key not in PROVIDERS:
        raise RequestRefused(
            _("“%(value)s” cannot be chosen here. Choose one of %(choices)s.")
            % {"value": key[:80], "choices": ", ".join(PROVIDERS)}
        )
    return PROVIDERS[key]


def _wrong_words(provider: Provider, name: str) -> str:
    option = provider.option(name)
    if option is not None and option.choices:
        return _("%(name)s of %(provider)s is one of %(choices)s.") % {
            "name": name, "provider": provider.label, "choices": ", ".join(option.choices)
        }  # fmt: skip
    if option is not None:
        return _("What is entered as %(name)s of %(provider)s cannot be right. Copy it anew.") % {
            "name": name, "provider": provider.label
        }  # fmt: skip
    return _("%(provider)s knows no option %(name)s. It takes %(names)s.") % {
        "provider": provider.label, "name": name[:80], "names": ", ".join(o.name for o in provider.options)
    }  # fmt: skip
