"""Who is here, who is gone, and who is to be remembered no longer.

A peer that is gone is remembered, and called, until its lease ends or somebody removes it. Either
way one peer's word is enough, the whole mesh follows it, and of who is not gone nothing is lost
(wire.md section 6.7).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from meshnet.errors import LocalProtocolError
from meshnet.gossip.exchange import Gossip
from meshnet.ids import PeerName
from meshnet.peering.absences import Absences
from meshnet.peering.links import Link
from meshnet.topology.presence import peers_present
from meshnet.topology.records import TOPOLOGY, PeerRecord


class Attendance:
    """``records`` and ``linked`` are live views: what peers announce, and our own links."""

    def __init__(
        self,
        our_name: PeerName,
        records: Mapping[PeerName, PeerRecord],
        linked: Mapping[PeerName, Link],
        gossip: Gossip,
        absences: Absences,
    ) -> None:
        self.absences = absences
        self._our_name = our_name
        self._records = records
        self._linked = linked
        self._gossip = gossip
        # Found when it is asked for: links change often, and removals are seldom.
        self._present: frozenset[PeerName] | None = None

    def links_changed(self) -> None:
        """A link of ours, or one that somebody announces, came or went."""
        self._present = None

    def is_alive(self, peer: PeerName) -> bool:
        """Whether anybody within reach says to be linked to it."""
        if self._present is None:
            announced: dict[PeerName, Collection[PeerName]] = {
                name: record.links for name, record in self._records.items()
            }
            self._present = peers_present(self._our_name, self._linked.keys(), announced)
        return peer in self._present

    def follow(self, reached: Collection[PeerName], now: float) -> None:
        """These are the peers that routes reach."""
        others = (name for name in self._records if name != self._our_name)
        self.absences.follow(others, reached, now)
        if self._gossip.removals:
            self._gossip.revive()

    def remove(self, peer: PeerName, *, data: bool, now: float) -> int:
        """Have the whole mesh forget a peer that is gone: how many entries were let go.

        Its record goes, with ``data`` all that it wrote. Raises LocalProtocolError for who is not
        gone.
        """
        if self.is_alive(peer):
            raise LocalProtocolError(f"peer {peer.short} is not gone; stop it first")
        replica = self._gossip.replica
        entries = 0
        for channel in replica.channels() if data else (TOPOLOGY,):
            fragment = replica.get(channel, peer)
            if fragment is not None:
                entries += len(fragment.tree)
                self._gossip.remove(channel, peer, now)
        return entries

    def end_leases(self, now: float) -> None:
        """Remove who has been gone for so long; only its record: its data are the users'."""
        self._gossip.removals.expire(now)
        for peer in self.absences.ended(now):
            if not self.is_alive(peer):
                self._gossip.remove(TOPOLOGY, peer, now)
