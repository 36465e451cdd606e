"""Where the servers of workspaces and members may lead: into the open internet, not into our own network.

What an operator sets by RELAY_URL goes anywhere; what others enter is checked where the socket opens, by the
address that is then connected to, so that no name can mean another host a moment later.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from postroom.smtp.relay import Relay
from postroom.wire import networks

NAMES_OF_THIS_MACHINE = ("localhost",)


@dataclass(frozen=True, slots=True)
class Reach:
    """What one server may be connected to.

    `has_login`: it logs in there with credentials of its own. Only then may it lead to the place of a shared
    relay that is logged in to, too: a relay may let the network address of this machine in, and whoever came
    that way would be past the daily limit and the rules for From.
    """

    has_login: bool = False

    def __call__(self, address: str, port: int) -> bool:
        """May this address (as a resolver writes it) be connected to? May look the shared relay's up."""
        try:
            one = networks.address(address)
        except ValueError:
            return False
        named = networks.is_in(one, _opened())
        if is_our_listener(address, port) or self._is_past_the_relay(one, port, is_named=named):
            return False
        return named or (
            bool(settings.POSTROOM_OPEN_INTERNET) and networks.is_public(one) and not _is_this_machine(one)
        )

    def may_be_called(self, host: str, port: int) -> bool:
        """May a server be entered with this host? A name is not looked up: that is done on connecting."""
        numbers = addresses_of(host, port, is_number=True)
        if numbers:
            return any(self(number, port) for number in numbers)
        if _is_name_of_this_machine(host):
            return any(self(number, port) for number in ("127.0.0.1", "::1"))
        relay = _relay()
        return relay is None or host != relay.host.lower() or self._fits(relay)

    def _is_past_the_relay(self, one: networks.Address, port: int, *, is_named: bool) -> bool:
        relay = _relay()
        if relay is None or self._fits(relay) or (is_named and port != relay.port):
            return False
        return one in {networks.address(each) for each in addresses_of(relay.host, relay.port)}

    def _fits(self, relay: Relay) -> bool:
        return self.has_login and bool(relay.user)


def is_our_listener(address: str, port: int) -> bool:
    """Does Postroom itself take mail in there? It would send everything to itself."""
    config = getattr(settings, "CONFIG", None)
    if config is None:
        return False
    host, listening = config.endpoint("POSTROOM_SMTP")
    if port != listening:
        return False
    one, here = networks.address(address), {networks.address(each) for each in addresses_of(host, port)}
    return one in here or one.is_loopback or _is_this_machine(one)


def numbers_of(host: str, port: int) -> list[str]:
    """The addresses that a host is written as, however it writes them; empty for a name."""
    if _is_name_of_this_machine(host):
        return ["127.0.0.1"]
    return addresses_of(host, port, is_number=True)


def addresses_of(host: str, port: int, *, is_number: bool = False) -> list[str]:
    """All addresses of a host; none if it cannot be found. `is_number`: a name is not looked up."""
    try:
        flags = socket.AI_NUMERICHOST if is_number else 0
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def is_named(address: str) -> bool:
    """Has an operator opened the network of this address (POSTROOM_PRIVATE_NETWORKS)?"""
    return networks.is_in(networks.address(address), _opened())


def _is_name_of_this_machine(host: str) -> bool:
    return host.rpartition(".")[2] in NAMES_OF_THIS_MACHINE


def _is_this_machine(one: networks.Address) -> bool:
    """Only an address of our own can be bound to (or one that is asked for before all others: 0.0.0.0)."""
    family = socket.AF_INET if one.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(one), 0))
    except OSError:
        return False
    return True


def _relay() -> Relay | None:
    url: str = settings.POSTROOM_RELAY_URL
    try:
        return _read(url) if url else None
    except ValueError:  # it carries nothing, and whoever set it is told
        return None


@lru_cache(maxsize=8)
def _read(url: str) -> Relay:
    return Relay.from_url(url)


def _opened() -> tuple[networks.Network, ...]:
    """An application that Postroom is part of need not know the setting."""
    return _networks(getattr(settings, "POSTROOM_PRIVATE_NETWORKS", ""))


@lru_cache(maxsize=8)
def _networks(text: str) -> tuple[networks.Network, ...]:
    return networks.parse(text)
