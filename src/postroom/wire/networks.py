"""IP networks: how they are written, and which addresses are anybody's to reach."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SEPARATOR: Final = re.compile(r"[\s,;]+")
# The last 32 bits are an IPv4 address: IPv4-compatible (RFC 4291 §2.5.5.1) and NAT64 (RFC 6052 §2.1).
_CARRIES_IPV4: Final = (IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))


def parse(text: str) -> tuple[Network, ...]:
    """Read networks and single addresses separated by commas or white space.

    Raises ValueError, whose message names the entry that is neither and says how to write it.
    """
    return tuple(_network(entry) for entry in _SEPARATOR.split(text) if entry)


def address(text: str) -> Address:
    """Read one address as a resolver writes it. One that only carries an IPv4 address becomes that one.

    Raises ValueError for what is none.
    """
    read = ipaddress.ip_address(text)
    return _carried(read) or read if isinstance(read, IPv6Address) else read


def is_in(one: Address, networks: Iterable[Network]) -> bool:
    """Is the address in one of them?"""
    return any(one in network for network in networks)


def is_public(one: Address) -> bool:
    """Is it a host in the open internet?

    No loopback, private, shared, link-local, multicast, unspecified, documentation or reserved address is
    (the registries of RFC 6890).
    """
    is_old_private = isinstance(one, IPv6Address) and one.is_site_local
    return one.is_global and not (one.is_multicast or one.is_reserved or is_old_private)


def _carried(one: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that the packets reach in the end; None if it is nothing but IPv6."""
    if one.ipv4_mapped is not None or one.sixtofour is not None:
        return one.ipv4_mapped or one.sixtofour
    if one.teredo is not None:
        return one.teredo[1]
    has_more = int(one) > 1  # :: and ::1 are what they are
    return IPv4Address(int(one) & 0xFFFFFFFF) if has_more and is_in(one, _CARRIES_IPV4) else None


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ValueError(
            f"“{entry[:80]}” is no network. Write for example 10.0.0.0/8, 192.168.1.25, fd00::/8"
        ) from None
