"""Where servers of workspaces and members may lead."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from postroom.outgoing.reach import Reach

OUTSIDE = "198.18.0.1"  # a network for measurements, which an operator has opened here
HERE = "127.0.0.9"


@pytest.fixture(autouse=True)
def nothing_is_open(settings: Any) -> None:
    settings.POSTROOM_PRIVATE_NETWORKS = ""
    settings.POSTROOM_RELAY_URL = ""


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"]
)
def test_nothing_inside_is_reached_unless_an_operator_opens_its_network(address: str, settings: Any) -> None:
    assert not Reach()(address, 2600)
    settings.POSTROOM_PRIVATE_NETWORKS = "127.0.0.0/8, 169.254.0.0/16, 10.0.0.0/8, ::1, 0.0.0.0"
    assert Reach()(address, 2600)


def test_the_open_internet_is_reached() -> None:
    assert Reach()("8.8.8.8", 587)


def test_this_machine_is_not_reached_by_its_public_address_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroom.wire.networks.is_public", lambda _: True)
    assert not Reach()(HERE, 25)
    assert Reach()("8.8.8.8", 25)


def test_our_own_listener_stays_shut_in_an_open_network(settings: Any) -> None:
    settings.POSTROOM_PRIVATE_NETWORKS = "127.0.0.0/8"
    listening = settings.CONFIG.endpoint("POSTROOM_SMTP")[1]
    assert not Reach()("127.0.0.1", listening)
    assert Reach()("127.0.0.1", listening + 1)


@pytest.mark.parametrize("port", [25, 587])
def test_a_relay_that_knows_us_by_our_address_is_nobodys_own_server(port: int, settings: Any) -> None:
    """Whoever entered it would be past the daily limit and the rules for From."""
    settings.POSTROOM_RELAY_URL = "smtp://8.8.8.8:25"
    assert not Reach(has_login=True)("8.8.8.8", port)
    assert not Reach(has_login=True)("::ffff:8.8.8.8", port)
    assert Reach()("8.8.4.4", port)


def test_in_an_open_network_the_very_place_of_the_relay_stays_shut(settings: Any) -> None:
    settings.POSTROOM_PRIVATE_NETWORKS = "198.18.0.0/15"
    settings.POSTROOM_RELAY_URL = f"smtp://{OUTSIDE}:25"
    assert not Reach()(OUTSIDE, 25)
    assert Reach()(OUTSIDE, 2525)


def test_an_own_account_at_the_provider_of_the_relay_is_fine(settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = "smtps://ours:secret@8.8.8.8:465"
    assert Reach(has_login=True)("8.8.8.8", 465)
    assert not Reach()("8.8.8.8", 465)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "::ffff:127.0.0.1",
        "::1",
        "localhost",
        "a.localhost",
    ],
)
def test_no_way_to_write_this_machine_can_be_entered(host: str) -> None:
    assert not Reach().may_be_called(host, 2600)


def test_a_name_is_looked_up_on_connecting_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def look_up(host: str, port: int, *, flags: int = 0, **_: Any) -> Any:
        asked.append(flags)
        raise socket.gaierror(socket.EAI_NONAME, "no number")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert Reach().may_be_called("smtp.acme.example", 587)
    assert asked == [socket.AI_NUMERICHOST]


def test_the_relay_cannot_be_entered_by_its_name(settings: Any) -> None:
    settings.POSTROOM_RELAY_URL = "smtp://Relay.example:25"
    assert not Reach().may_be_called("relay.example", 587)
    assert Reach().may_be_called("other.example", 587)


def test_what_is_no_address_is_not_reached() -> None:
    assert not Reach()("", 25)


def test_where_the_open_internet_is_shut_only_named_networks_are_reached(settings: Any) -> None:
    settings.POSTROOM_PRIVATE_NETWORKS = "127.0.0.0/8"
    assert Reach()("9.9.9.9", 587)
    settings.POSTROOM_OPEN_INTERNET = False
    assert not Reach()("9.9.9.9", 587)
    assert Reach()("127.0.0.1", 2587)
