"""Which addresses are anybody's to reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire import networks

INNER = [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1", "255.255.255.255", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "fec0::1",
    "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("text", INNER)
def test_no_address_of_an_inner_network_is_public(text: str) -> None:
    assert not networks.is_public(networks.address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_open_internet_is_public(text: str) -> None:
    assert networks.is_public(networks.address(text))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_what_it_is_in_whatever_ipv6_carries_it(four: IPv4Address) -> None:
    if int(four) <= 1:
        return  # :: and ::1 have a meaning of their own
    for carrier in (0xFFFF << 32, 0x64FF9B << 96, 0):
        assert networks.address(str(IPv6Address(carrier + int(four)))) == four


@given(st.lists(st.ip_addresses(network="0.0.0.0/0"), max_size=4))
def test_networks_are_read_as_they_are_written(some: list[IPv4Address]) -> None:
    read = networks.parse(", ".join(f"{each}/24" for each in some))
    assert len(read) == len(some)
    assert all(networks.is_in(each, read) for each in some)


def test_a_single_address_is_a_network_and_nothing_names_none() -> None:
    assert networks.is_in(networks.address("10.0.0.5"), networks.parse("fd00::/8 10.0.0.5"))
    assert networks.parse("") == ()


def test_an_entry_that_is_no_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"“office” is no network\. Write for example 10\.0\.0\.0/8"):
        networks.parse("10.0.0.0/8, office")
