"""Who may call us, or be called, without a session: every peer to which there is a way.

In a mesh of more peers than one has sessions with, most are known by their record and route alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from meshnet.ids import Endpoint, PeerName
from meshnet.topology.records import PeerRecord
from meshnet.wire.crypto import x25519_public_of


class Member(NamedTuple):
    """What it takes to call a peer; ``direct`` are its addresses, best first."""

    peer: PeerName
    static: bytes
    life: int
    direct: tuple[Endpoint, ...]


class Members:
    """A view of ``records``; ``reachable`` are the peers to which there is a way."""

    def __init__(self, records: Mapping[PeerName, PeerRecord]) -> None:
        self.reachable: Collection[PeerName] = ()
        self._records = records
        self._by_static: dict[bytes, PeerName] = {}
        self._indexed: set[PeerName] = set()

    def by_name(self, peer: PeerName) -> Member | None:
        """None when there is no way to it."""
        record = self._records.get(peer)
        if record is None or peer not in self.reachable:
            return None
        static = x25519_public_of(record.public_key)
        return Member(peer, static, record.life, record.endpoints)

    def by_static(self, static: bytes) -> Member | None:
        """Whose Noise key that is; None when there is no way to it."""
        if static not in self._by_static:
            self._index_the_new()
        peer = self._by_static.get(static)
        return self.by_name(peer) if peer is not None else None

    def _index_the_new(self) -> None:
        """A name stands for one key for ever, so what was looked at once needs no second look."""
        if len(self._indexed) > 2 * len(self._records):
            self._indexed.clear()
            self._by_static.clear()
        for peer in self._records.keys() - self._indexed:
            self._by_static[x25519_public_of(self._records[peer].public_key)] = peer
            self._indexed.add(peer)
