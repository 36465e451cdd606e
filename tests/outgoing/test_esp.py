"""Providers and their options, against the back ends that speak their APIs."""

from __future__ import annotations

import json
import pkgutil
from urllib.parse import urlsplit

import anymail.backends
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.flows.esp_calls import ApiSession
from postroom.outgoing import esp
from postroom.outgoing.esp import PROVIDERS, Account, Provider, account_of, merged
from postroom.outgoing.models import MailServer
from postroom.smtp.mail import MailObject
from postroom.wire.reply import Outcome
from tests.flows.test_esp_sending import LETTER, VALUES
from tests.outgoing.provider_api import TOKEN, provider_api

NO_PROVIDERS = {"base", "base_requests", "console", "test", "sendinblue"}
HTTP = sorted(PROVIDERS.keys() - {"amazon_ses"})


def account(key: str, **options: str) -> Account:
    """With something for every option that is needed."""
    provider = PROVIDERS[key]
    needed = {option.name: TOKEN for option in provider.options if option.is_required}
    return Account(provider, {**needed, **options})


def test_every_provider_that_the_library_sends_through_is_known() -> None:
    found = {module.name for module in pkgutil.iter_modules(anymail.backends.__path__)}
    assert {provider.module for provider in PROVIDERS.values()} == found - NO_PROVIDERS


@pytest.mark.parametrize("key", HTTP)
def test_every_back_end_takes_the_options_we_ask_for_and_calls_a_host_of_the_provider(key: str) -> None:
    needs_address = PROVIDERS[key].needs_api_url
    backend = ApiSession(
        account(key, **({"api_url": "https://postal.example/"} if needs_address else {}))
    ).backend
    where = urlsplit(backend.api_url)
    assert where.scheme == "https"
    assert key.split("_")[0].replace("mandrill", "mandrillapp") in where.netloc


@pytest.mark.parametrize(
    ("key", "region", "host"),
    [
        ("mailgun", "eu", "api.eu.mailgun.net"),
        ("mailgun", "", "api.mailgun.net"),
        ("sparkpost", "eu", "api.eu.sparkpost.com"),
        ("sendgrid", "eu", "api.eu.sendgrid.com"),
        ("unisender_go", "go2", "go2.unisender.ru"),
    ],
)
def test_a_region_has_a_host_of_its_own(key: str, region: str, host: str) -> None:
    backend = ApiSession(account(key, region=region)).backend
    assert urlsplit(backend.api_url).netloc == host


@pytest.mark.parametrize("key", HTTP)
def test_every_back_end_hands_a_letter_with_a_picture_over_and_understands_the_answer(key: str) -> None:
    with provider_api() as api:
        api.status = 500
        session = ApiSession(account(key, api_url=api.url))
        session.reach()
        answer = session.send(MailObject(1, b"bounce+t@demo.example", b"ben@example.org", LETTER % VALUES))
        session.close()
    assert api.request_count == 1
    assert answer.outcome is Outcome.DEFERRED
    assert answer.reply is not None
    assert answer.reply.text.startswith(f"{PROVIDERS[key].label} answered 500 Internal Server Error")


def test_amazon_s_library_is_told_not_to_try_again_by_itself() -> None:
    settings = account("amazon_ses", region_name="eu-west-1").settings()
    assert settings["client_params"]["region_name"] == "eu-west-1"
    assert settings["client_params"]["config"]["retries"] == {"total_max_attempts": 1}
    assert settings.keys() == {"client_params"}


def test_what_is_missing_or_unknown_is_named() -> None:
    with pytest.raises(ValueError, match="pigeon"):
        account_of(MailServer(esp="pigeon"))
    with pytest.raises(ValueError, match="secret_key"):
        account_of(MailServer(esp="mailjet", esp_options='{"api_key": "a"}'))
    with pytest.raises(ValueError, match="api_url"):
        account_of(MailServer(esp="postal", esp_options='{"api_key": "a"}'))
    with pytest.raises(ValueError, match="JSON"):
        account_of(MailServer(esp="brevo", esp_options="[]"))


providers = st.sampled_from(list(PROVIDERS.values()))


@given(providers, st.data())
def test_an_empty_secret_changes_nothing_and_another_empty_option_goes(
    provider: Provider, data: st.DataObject
) -> None:
    names = [option.name for option in provider.options]
    texts = st.dictionaries(st.sampled_from(names), st.text("abc", max_size=3))
    stored = {name: value for name, value in data.draw(texts).items() if value}
    given_now = data.draw(texts)
    result = merged(provider, stored, given_now)
    for option in provider.options:
        told = given_now.get(option.name)
        keeps = told is None or (told == "" and option.is_secret)
        assert result.get(option.name, "") == (stored.get(option.name, "") if keeps else told)


@given(providers, st.text(), st.text())
def test_what_is_stored_is_always_usable_as_a_header_or_refused(
    provider: Provider, name: str, value: str
) -> None:
    secret = next(option for option in provider.options if option.is_secret)
    if not esp.wrong_option(provider, {secret.name: value}):
        assert value.isascii()
        assert value.isprintable()
    assert esp.wrong_option(provider, {f"x{name}": value}) == f"x{name}"


def test_no_secret_is_shown_by_accident() -> None:
    shown = repr(account("postmark", server_token="geheim-4711"))
    assert "geheim" not in shown
    assert json.loads('"api_key"') in esp.secret_names()
