"""What we do for strangers before they have proved anything: next to nothing, and that bounded.

A key exchange costs some hundred microseconds; refusing one costs a few. `HandshakeGuard` stands
before the data sessions' handshakes (UDP), `LinkGuard` before the links' (TCP).
"""

from __future__ import annotations

from collections.abc import Iterable

from meshnet.errors import DropReason
from meshnet.ids import Endpoint, PeerName, Remote
from meshnet.peering.buckets import TokenBuckets, source_of
from meshnet.peering.links import Link
from meshnet.ports import Rng
from meshnet.wire.cookies import CookieJar
from meshnet.wire.handshake import MIN_INITIATION_BYTES

# Our choice. So many handshakes from anywhere are done on trust, which is all that happens while
# nobody attacks; beyond that only for who has shown its address. 20 a second are 0.5 % of a core.
FREE_HANDSHAKES_PER_S = 20.0
FREE_HANDSHAKES_BURST = 100.0
# From one address that was shown, or relayed from one peer. Several peers may share an address.
HANDSHAKES_PER_S = 10.0
HANDSHAKES_BURST = 20.0
# TCP connections from one address, and those of them that have not shown who they are.
LINKS_PER_S = 10.0
LINKS_BURST = 40.0
MAX_HALF_OPEN_PER_SOURCE = 16
MAX_HALF_OPEN = 256


class HandshakeGuard:
    """Says of each INITIATION whether to do a key exchange for it."""

    def __init__(self, our_static: bytes, rng: Rng) -> None:
        self._jar = CookieJar(our_static, rng)
        self._free: TokenBuckets[None] = TokenBuckets(FREE_HANDSHAKES_PER_S, FREE_HANDSHAKES_BURST)
        self._sources: TokenBuckets[bytes] = TokenBuckets(HANDSHAKES_PER_S, HANDSHAKES_BURST)

    def judge(
        self, initiation: bytes, source: Remote, now: float
    ) -> tuple[DropReason | None, bytes | None]:
        """(why not, or None; what to send back to ``source``, if anything)."""
        if len(initiation) < MIN_INITIATION_BYTES:
            return DropReason.BAD_HANDSHAKE, None
        if not self._jar.is_marked(initiation):
            return DropReason.BAD_MAC, None
        if isinstance(source, PeerName):
            # Handed on by neighbours, so there is no address to prove.
            shown: bytes = source
        elif self._jar.is_proved(initiation, source, now):
            shown = source_of(source.host)
        elif self._free.take(None, 1.0, now):
            return None, None
        else:
            return DropReason.COOKIE_REQUIRED, self._jar.reply(initiation, source, now)
        if not self._sources.take(shown, 1.0, now):
            return DropReason.HANDSHAKE_RATE, None
        return None, None


class LinkGuard:
    """Says of each TCP connection whether to talk to it at all."""

    def __init__(self) -> None:
        self._sources: TokenBuckets[bytes] = TokenBuckets(LINKS_PER_S, LINKS_BURST)

    def admits(self, remote: Endpoint, links: Iterable[Link], now: float) -> bool:
        """Whether ``remote`` may have one more link, beside ``links``."""
        source = source_of(remote.host)
        half_open = sum(source_of(link.remote.host) == source for link in _half_open(links))
        if half_open >= MAX_HALF_OPEN_PER_SOURCE:
            return False
        return self._sources.take(source, 1.0, now)

    def to_make_room(self, links: Iterable[Link]) -> Link | None:
        """The link to close for one more: the eldest of those that say nothing of themselves.

        A genuine handshake takes some round trips; what waits longest is not one.
        """
        waiting = list(_half_open(links))
        return waiting[0] if len(waiting) >= MAX_HALF_OPEN else None


def _half_open(links: Iterable[Link]) -> Iterable[Link]:
    return (link for link in links if link.authenticated is None and not link.outbound)
