"""Ways to peers that are not neighbours: routes from who is linked to whom, and passing things on.

Handshake datagrams go along the links of a route; sealed datagrams go by `DataPath`, which is told
here by which neighbour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from meshnet.discovery.neighbours import Neighbours
from meshnet.errors import DropReason
from meshnet.ids import PeerName
from meshnet.peering.data_path import DataPath
from meshnet.peering.linking import LinkKeeper
from meshnet.peering.members import Members
from meshnet.peering.relay_rate import RelayBuckets
from meshnet.peering.sessions import SessionKeeper
from meshnet.topology.records import PeerRecord
from meshnet.topology.routes import MAX_HOPS, Route, shortest_routes
from meshnet.wire.crypto import x25519_public_of
from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import HEADER_BYTES, RELAY_HEADER
from meshnet.wire.messages import MessageType


class Router:
    """The routes of one peer. ``records`` is a live view of what every peer announces."""

    def __init__(
        self,
        our_name: PeerName,
        records: Mapping[PeerName, PeerRecord],
        links: LinkKeeper,
        sessions: SessionKeeper,
        data_path: DataPath,
        neighbours: Neighbours,
        members: Members,
    ) -> None:
        self.routes: dict[PeerName, Route] = {}
        """The way to every peer that can be reached."""
        self._our_name = our_name
        self._records = records
        self._links = links
        self._sessions = sessions
        self._data_path = data_path
        self._neighbours = neighbours
        self._members = members
        self._buckets = RelayBuckets()

    def compute(self, now: float) -> None:
        """Bring the table, the data path and the sessions in line with who is linked to whom."""
        linked = self._links.by_peer.keys()
        announced: dict[PeerName, Collection[PeerName]] = {
            name: record.links for name, record in self._records.items()
        }
        announced[self._our_name] = linked
        for peer in linked:
            # Our own links are facts, whether the other end has announced them yet or not.
            announced[peer] = {self._our_name, *announced.get(peer, ())}
        self.routes = shortest_routes(self._our_name, announced)
        self._compute_next_hops(announced)
        relayed = self.routes.keys() - linked
        self._neighbours.follow(self.routes.keys(), now)
        self._members.reachable = self.routes
        self._data_path.on_demand = self._neighbours.is_crowded
        self._data_path.crowded = self._is_crowded()
        # Sorted: a set has another order in every process, and equal inputs give equal bytes.
        for peer in sorted(relayed):
            self._reach_through_others(peer, now)
        for pair in list(self._sessions):
            if pair.peer not in self.routes:
                self._sessions.peer_unreachable(pair.peer, gone=False, reason="no route", now=now)

    def _is_crowded(self) -> bool:
        """Whether we go without a session with everyone.

        Once that has been so, it stays so until there is one with everyone: none is to miss a
        broadcast meanwhile.
        """
        if self._data_path.on_demand:
            return True
        return self._data_path.crowded and not all(map(self._data_path.has_session, self.routes))

    def _compute_next_hops(self, announced: Mapping[PeerName, Collection[PeerName]]) -> None:
        """By whom datagrams go on: neighbours that UDP reaches, whatever TCP does."""
        by_udp = self._links.by_peer.keys() & self._data_path.direct_peers
        ways = shortest_routes(self._our_name, {**announced, self._our_name: by_udp})
        self._data_path.next_hops = {peer: way.via for peer, way in ways.items()}
        self._data_path.paths_changed = False

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
