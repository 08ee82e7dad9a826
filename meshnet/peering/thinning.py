"""Links that neither end needs, and which of them go: one by one, by agreement (wire.md 3.7).

Who has more links than --degree asks the other ends of some that it does not want to close them.
Who is asked closes the link unless it wants it, or has few itself. So no link goes that either end
wants, whatever the two think of the mesh, and nobody is left without links.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshnet.discovery.neighbours import Neighbours
from meshnet.errors import CloseCode
from meshnet.ids import PeerName
from meshnet.peering.linking import LinkKeeper
from meshnet.timers import on_the_second
from meshnet.topology.records import PeerRecord
from meshnet.wire.messages import MessageType

# Our choice: looked at so often while there are too many.
ROUND_S = 2.0
# So long a link has to have been of no use: what peers that come and go make one want and not want
# in turn is kept.
SETTLE_S = 5.0
# Who has kept its link is asked again so much later; its wishes may have changed.
ASK_AGAIN_S = 60.0
# Who has fewer links besides ours depends on ours.
NEEDY_LINKS = 2


class LinkThinning:
    """Decides for one peer. ``records`` is a live view of what every peer announces."""

    def __init__(
        self,
        our_name: PeerName,
        links: LinkKeeper,
        neighbours: Neighbours,
        records: Mapping[PeerName, PeerRecord],
    ) -> None:
        self._our_name = our_name
        self._links = links
        self._neighbours = neighbours
        self._records = records
        # Links that we do not want: since when we know, and when we asked the other end last.
        self._spare_since: dict[PeerName, float] = {}
        self._asked_at: dict[PeerName, float] = {}
        self._next_round: float | None = None

    def links_changed(self, now: float) -> None:
        """There are more links, or fewer."""
        if self._too_many <= 0:
            self._next_round = None
        elif self._next_round is None:
            self._next_round = on_the_second(now + ROUND_S)

    def handle_timer(self, now: float) -> None:
        """Ask who may be asked now, if there are too many links."""
        if self._next_round is None or now < self._next_round:
            return
        self._next_round = on_the_second(now + ROUND_S)
        linked, wants = self._links.by_peer, self._neighbours.wants
        spare = {peer: self._spare_since.get(peer, now) for peer in linked if not wants(peer)}
        self._spare_since = spare
        self._asked_at = {peer: at for peer, at in self._asked_at.items() if peer in spare}
        ripe = [
            peer
            for peer, since in spare.items()
            if now - since >= SETTLE_S and now >= self._may_ask_at(peer)
        ]
        for peer in sorted(ripe, key=self._distance_to)[: max(self._too_many, 0)]:
            self._asked_at[peer] = now
            self._links.send(peer, MessageType.UNNEEDED, b"")

    def next_deadline(self) -> float | None:
        return self._next_round

    def asked(self, peer: PeerName, now: float) -> None:
        """The other end does not need its link to us. Do we?"""
        linked, neighbours = self._links.by_peer, self._neighbours
        link = linked.get(peer)
        if link is None or neighbours.wants(peer) or len(linked) <= neighbours.enough:
            return
        self._links.close(link, CloseCode.UNNEEDED_LINK, CloseCode.UNNEEDED_LINK.text, now)

    def link_to_give_up(self, newcomer: PeerName | None) -> PeerName | None:
        """Whose link goes when there are as many as may be and ``newcomer`` wants one.

        None: nobody's. ``newcomer`` is None if it is not known who answers at an address that a
        user gave. Nobody has to go for who has links enough, and nobody goes who has few.
        """
        wants = self._neighbours.wants_most
        if newcomer is not None and not (wants(newcomer) or self._is_needy(newcomer)):
            return None
        spare = (
            peer for peer in self._links.by_peer if not wants(peer) and not self._is_needy(peer)
        )
        return min(spare, key=self._distance_to, default=None)

    @property
    def _too_many(self) -> int:
        return len(self._links.by_peer) - self._neighbours.degree

    def _may_ask_at(self, peer: PeerName) -> float:
        asked_at = self._asked_at.get(peer)
        return 0.0 if asked_at is None else asked_at + ASK_AGAIN_S

    def _is_needy(self, peer: PeerName) -> bool:
        """Whether ``peer`` has few links but for ours, or is our only way to who knows how many."""
        record = self._records.get(peer)
        if record is None or not self._neighbours.reaches(peer):
            return True
        return len(record.links - {self._our_name}) < NEEDY_LINKS

    def _distance_to(self, peer: PeerName) -> int:
        """An order that differs from peer to peer, and in which each pair is as far from either
        end: so all do not ask the same."""
        return int.from_bytes(self._our_name, "big") ^ int.from_bytes(peer, "big")
