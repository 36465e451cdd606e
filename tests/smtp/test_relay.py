"""Relay URLs."""

from __future__ import annotations

import ssl

import pytest

from postroom.smtp.client import Relay, Security


@pytest.mark.parametrize(
    ("url", "host", "port", "security"),
    [
        ("smtp://relay.example", "relay.example", 25, Security.NONE),
        ("smtp://relay.example:2525/", "relay.example", 2525, Security.NONE),
        ("smtps://relay.example", "relay.example", 465, Security.TLS),
        ("SMTP+STARTTLS://relay.example", "relay.example", 587, Security.STARTTLS),
        ("smtp://[::1]:2525", "::1", 2525, Security.NONE),
    ],
)
def test_a_url_names_host_port_and_security(url: str, host: str, port: int, security: Security) -> None:
    relay = Relay.from_url(url, helo="postroom.example")
    assert (relay.host, relay.port, relay.security) == (host, port, security)
    assert relay.helo == "postroom.example"


def test_user_and_password_are_percent_decoded_and_hidden() -> None:
    relay = Relay.from_url("smtp://ana%40demo.example:p%2Fa%3Ass@relay.example")
    assert (relay.user, relay.password) == ("ana@demo.example", "p/a:ss")
    assert "p/a:ss" not in repr(relay)


def test_verification_can_be_switched_off_in_the_url() -> None:
    relay = Relay.from_url("smtps://relay.example?verify_certificate=no")
    assert relay.context().verify_mode is ssl.CERT_NONE
    assert Relay.from_url("smtps://relay.example").context().check_hostname


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("relay.example", "must start with"),
        ("http://relay.example", "smtp\\+starttls://"),
        ("smtp://", "names no host"),
        ("smtp://relay.example:0", "1 to 65535"),
        ("smtp://ana:top/secret@relay.example", "percent-encoded"),
        ("smtp://relay.example/inbox", "goes on"),
        ("smtp://relay.example?verify_certificate=perhaps", "yes or no"),
        ("smtp://relay.example?timeout=3", "only option"),
    ],
)
def test_a_bad_url_is_refused_with_the_remedy(url: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as caught:
        Relay.from_url(url)
    assert "secret" not in str(caught.value)
