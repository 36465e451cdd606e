from __future__ import annotations

import pytest

from postroom.incoming.counts import RecentCounts, network_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_counts_end_with_their_window() -> None:
    clock = Clock()
    counts = RecentCounts(window_seconds=3600, clock=clock)
    assert [counts.add("a"), counts.add("a"), counts.add("b")] == [1, 2, 1]
    clock.now = 3599
    assert counts.count("a") == 2
    clock.now = 3600
    assert counts.count("a") == 0
    assert counts.add("a") == 1


def test_memory_is_bounded_and_keeps_whom_it_saw_last() -> None:
    counts = RecentCounts(window_seconds=60, capacity=3, clock=Clock())
    for key in "abcad":
        counts.add(key)
    assert [counts.count(key) for key in "abcd"] == [2, 0, 1, 1]


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("somewhere", "somewhere"),
    ],
)
def test_a_network_is_what_one_stranger_can_change_addresses_in(peer: str, network: str) -> None:
    assert network_of(peer) == network
