"""Ways to peers that are not neighbours: routes from who is linked to whom, and passing things on.

Handshake datagrams go along the links of a route; sealed datagrams go by `DataPath`, which is told
here by which neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from meshnet.discovery.neighbours import Neighbours
from meshnet.errors import DropReason
from meshnet.ids import PeerName
from meshnet.peering.data_path import DataPath
from meshnet.peering.link_costs import LinkCosts
from meshnet.peering.linking import LinkKeeper
from meshnet.peering.members import Members
from meshnet.peering.relay_rate import RelayBuckets
from meshnet.peering.sessions import SessionKeeper
from meshnet.topology.graph import LinkGraph
from meshnet.topology.records import PeerRecord
from meshnet.topology.routes import MAX_HOPS, Route, RouteTable
from meshnet.topology.views import NeighbourViews
from meshnet.wire.crypto import x25519_public_of
from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import HEADER_BYTES, RELAY_HEADER
from meshnet.wire.messages import MessageType

# Our choice: about 1 ms of work, after which frames have their turn (design section 3).
LINKS_AT_ONCE = 500
# Our choice: by then everybody has heard of a link that changed.
TREES_SETTLE_S = 2.0


class Router:
    """The routes of one peer, in line with who is linked to whom at which cost.

    Told of what has changed, it works on that alone: `follow` after that, and again at
    `next_deadline` until all is done. ``records`` is a live view of what every peer announces.
    """

    def __init__(
        self,
        our_name: PeerName,
        records: Mapping[PeerName, PeerRecord],
        links: LinkKeeper,
        link_costs: LinkCosts,
        sessions: SessionKeeper,
        data_path: DataPath,
        neighbours: Neighbours,
        members: Members,
    ) -> None:
        self._our_name = our_name
        self._records = records
        self._links = links
        self._link_costs = link_costs
        self._sessions = sessions
        self._data_path = data_path
        self._neighbours = neighbours
        self._members = members
        self._buckets = RelayBuckets()
        self._graph = LinkGraph(our_name)
        self._by_link = RouteTable(self._graph, our_name)
        # By whom datagrams go on: neighbours that UDP reaches, whatever TCP does.
        self._by_udp = RouteTable(self._graph, our_name)
        self._views = NeighbourViews(self._graph)
        # Those of whom something has changed since the sessions were brought in line.
        self._changed: dict[PeerName, None] = {}
        self._has_other_links = False
        self._changed_at = -math.inf
        self._is_at_work = False

    @property
    def routes(self) -> Mapping[PeerName, Route]:
        """The way to every peer that can be reached."""
        return self._by_link.routes

    def tree_children(self, source: PeerName, now: float) -> tuple[PeerName, ...] | None:
        """The neighbours to pass a broadcast of ``source`` on to; None: not known, so to all.

        The first question has the answer worked out, at `next_deadline`. While links change, peers
        that know different ones would make a tree together that does not reach everybody.
        """
        children = self._views.children(source)
        self._is_at_work = self._is_at_work or self._views.behind
        return children if now >= self._changed_at + TREES_SETTLE_S else None

    def forget_unasked(self) -> None:
        """Drop what only `tree_children` needs, unless it was asked since the last call."""
        self._views.forget_unasked()

    def record_changed(self, peer: PeerName) -> None:
        """What ``peer`` announces is another now, or nothing any more."""
        record = self._records.get(peer)
        self._mark(self._graph.announce(peer, record.costs if record is not None else {}))
        self._changed[peer] = None

    def link_changed(self, peer: PeerName) -> None:
        """A link to ``peer`` has come or gone."""
        self._changed[peer] = None

    def follow(self, now: float) -> None:
        """Work a while on bringing tables, data path and sessions in line with what has changed."""
        self._follow_own_links()
        if self._has_other_links:
            self._has_other_links, self._changed_at = False, now
        limit = LINKS_AT_ONCE
        for table in (self._by_link, self._by_udp):
            limit -= table.work(limit)
        if not (self._by_link.behind or self._by_udp.behind):
            self._bring_in_line(now)
        if limit > 0:
            self._views.work(limit)
        self._is_at_work = self._by_link.behind or self._by_udp.behind or self._views.behind

    def next_deadline(self, now: float) -> float | None:
        """``now`` while there is work left: frames have their turn before it goes on.

        What has just changed waits for `follow`, by when more may have.
        """
        return now if self._is_at_work else None

    def _follow_own_links(self) -> None:
        linked = self._links.by_peer.keys()
        costs = {peer: self._link_costs.of(peer) for peer in linked}
        self._mark(self._graph.announce(self._our_name, costs))
        self._by_udp.use_first_hops(frozenset(linked & self._data_path.direct_peers))
        self._data_path.paths_changed = False

    def _mark(self, peers: list[PeerName]) -> None:
        self._has_other_links = self._has_other_links or bool(peers)
        for table in (self._by_link, self._by_udp, self._views):
            table.mark(peers)

    def _bring_in_line(self, now: float) -> None:
        """Act on what is another now than when this was last done."""
        next_hops, by_udp = self._data_path.next_hops, self._by_udp
        for peer in by_udp.changed:
            if (route := by_udp.routes.get(peer)) is not None:
                next_hops[peer] = route.via
            else:
                next_hops.pop(peer, None)
        by_udp.changed.clear()
        changed, self._changed = self._changed | self._by_link.changed, {}
        self._by_link.changed.clear()
        if changed:
            self._members.reachable = self.routes
            self._neighbours.follow(self.routes.keys(), now)
        were_on_demand = self._data_path.on_demand
        self._data_path.on_demand = self._neighbours.is_crowded
        self._data_path.crowded = self._is_crowded()
        if were_on_demand and not self._data_path.on_demand:
            # From now on everybody has a session, not only those to whom the way is another.
            changed |= dict.fromkeys(self.routes)
        linked = self._links.by_peer
        # Sorted, so that equal inputs give equal bytes whatever order they were found in.
        for peer in sorted(changed):
            if peer in linked:
                continue
            if peer in self.routes:
                self._reach_through_others(peer, now)
            else:
                self._sessions.peer_unreachable(peer, gone=False, reason="no route", now=now)

    def _is_crowded(self) -> bool:
        """Whether we go without a session with everyone.

        Once that has been so, it stays so until there is one with everyone: none is to miss a
        broadcast meanwhile.
        """
        if self._data_path.on_demand:
            return True
        return self._data_path.crowded and not all(map(self._data_path.has_session, self.routes))

    def _reach_through_others(self, peer: PeerName, now: float) -> None:
        record = self._records.get(peer)
        if self._data_path.on_demand and self._sessions.pair(peer) is None:
            return  # It gets a session when frames flow.
        if record is not None:
            self._sessions.peer_reachable(
                peer,
                x25519_public_of(record.public_key),
                record.life,
                direct=record.endpoints,
                relay=True,
                lead=self._our_name < peer,
                now=now,
            )

    def send(self, datagram: bytes, peer: PeerName) -> None:
        """Have neighbours carry a handshake datagram of ours to ``peer``."""
        self._pass_on(self._our_name, peer, MAX_HOPS, datagram)

    def receive(self, came_from: PeerName, body: bytes, now: float) -> None:
        """A handshake datagram that a neighbour passes on: ours, or to be passed on further.

        Raises MalformedError.
        """
        if len(body) <= RELAY_HEADER.size:
            raise MalformedError("malformed relayed datagram")
        src_bytes, dst_bytes, hops_left = RELAY_HEADER.unpack_from(body)
        src, dst, datagram = PeerName(src_bytes), PeerName(dst_bytes), body[RELAY_HEADER.size :]
        drop: DropReason | None = None
        if dst == self._our_name:
            if len(datagram) < HEADER_BYTES:
                drop = DropReason.TRUNCATED
            else:
                drop = self._sessions.receive_datagram(datagram, src, now)
        elif hops_left == 0:
            drop = DropReason.HOP_LIMIT
        elif not self._buckets.take(came_from, len(datagram), now):
            drop = DropReason.RELAY_RATE
        else:
            self._pass_on(src, dst, hops_left - 1, datagram)
        if drop is not None:
            self._data_path.counters.drops[drop] += 1

    def _pass_on(self, src: PeerName, dst: PeerName, hops_left: int, datagram: bytes) -> None:
        route = self.routes.get(dst)
        body = RELAY_HEADER.pack(src, dst, hops_left) + datagram
        if route is None or not self._links.send(route.via, MessageType.RELAYED, body):
            self._data_path.counters.drops[DropReason.NO_ROUTE] += 1
