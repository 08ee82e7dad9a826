"""Token buckets, one per source of work, in a table that does not grow."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Our choice. Whoever has more sources than this gets a fresh bucket now and then.
MAX_BUCKETS = 4096


class TokenBuckets(Generic[K]):
    """``per_s`` tokens a second for each key, ``burst`` at once. The key unused longest goes."""

    __slots__ = ("_buckets", "_burst", "_per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[K, tuple[float, float]] = {}

    def take(self, key: K, amount: float, now: float) -> bool:
        """True when ``key`` may have ``amount`` now; else nothing is taken."""
        tokens, filled_at = self._buckets.pop(key, (self._burst, now))
        # Time that went back gives nothing, and takes nothing.
        tokens = min(self._burst, tokens + max(0.0, now - filled_at) * self._per_s)
        allowed = tokens >= amount
        if len(self._buckets) >= MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - amount if allowed else tokens, now)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)


def source_of(host: str) -> bytes:
    """Whose bucket an address draws on: an IPv4 address, or an IPv6 /64, which one host may own."""
    packed = ipaddress.ip_address(host).packed
    return packed if len(packed) == 4 else packed[:8]
