"""Counts what strangers did lately, in bounded memory: misses, and lines of the incoming log."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable


class RecentCounts:
    """How often each key was counted within a window that begins with its first count.

    Kept in this process alone: a restart forgets. At most `capacity` keys; the one not seen for longest goes.
    """

    def __init__(
        self, *, window_seconds: float, capacity: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window_seconds = window_seconds
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, key: str) -> int:
        """Count one more and return how many there are now."""
        with self._lock:
            began_at, count = self._current(key)
            self._counts[key] = (began_at, count + 1)
            self._counts.move_to_end(key)
            if len(self._counts) > self._capacity:
                self._counts.popitem(last=False)
        return count + 1

    def count(self, key: str) -> int:
        """How many there are."""
        with self._lock:
            return self._current(key)[1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._counts.clear()

    def _current(self, key: str) -> tuple[float, int]:
        now = self._clock()
        began_at, count = self._counts.get(key, (now, 0))
        return (began_at, count) if now - began_at < self._window_seconds else (now, 0)


def network_of(peer: str) -> str:
    """The network a stranger can change addresses in at will: /24 of IPv4, /64 of IPv6."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))
