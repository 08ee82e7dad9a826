"""One peer's control plane, joined from the pure parts: the `Engine`.

The contract, for whoever drives it (`meshnet.aio` for real, tests under virtual time):

1. Give it one input: `link_opened`, `receive_link_bytes`, `link_ended`, `dial_failed`,
   `receive_datagrams`, `receive_frames`, `handle_timer`, or a user's call. All take ``now``.
2. Drain it: `links_to_send`, `dials_to_make`, `datagrams_to_send`, `frames_to_deliver` and
   `next_event`, each until it gives nothing.
3. Wait for the next input, or until `next_deadline`, then `handle_timer`.

The engine owns no socket, clock or random source: the same inputs with the same ``rng`` give the
same bytes. No input from outside raises; what concerns a link that has ended, or never was, is
ignored.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Collection, Iterable, Sequence

from attrs import define, evolve, field

from meshnet.discovery.targets import Targets
from meshnet.errors import CloseCode, DropReason, MeshError, RemoteProtocolError
from meshnet.events import (
    DialFailed,
    Event,
    LinkEstablished,
    LinkLost,
    LinkRefused,
    PeerDiscovered,
    RecordIgnored,
)
from meshnet.gossip.records import (
    MAX_LINKS,
    MAX_SEQUENCE,
    BadRecord,
    PeerRecord,
    RecordTable,
    read_record,
    write_record,
)
from meshnet.ids import Endpoint, PeerName, network_id
from meshnet.peering.data_path import Counters, Datagram, DataPath
from meshnet.peering.floods import LinkGuard
from meshnet.peering.links import Link, LinkId, LinkOutput, surplus
from meshnet.peering.relay_rate import RelayBuckets
from meshnet.peering.reports import Reporter
from meshnet.peering.sessions import SessionKeeper
from meshnet.peering.trusted import Subnet, TrustedSubnets
from meshnet.ports import Rng
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.switch.switch import SWEEP_INTERVAL_S, Switch
from meshnet.timers import Timers
from meshnet.topology.routes import MAX_HOPS, Route, shortest_routes
from meshnet.wire.ciphers import DEFAULT_PREFERENCE, CipherId
from meshnet.wire.crypto import x25519_public_of
from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import HEADER_BYTES, RELAY_HEADER
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, KeyLife
from meshnet.wire.link import (
    KEYS_EXPIRED,
    LinkAuthenticated,
    LinkClosed,
    LinkConfig,
    LinkEvent,
    LinkProtocol,
    LinkState,
    RecordReceived,
)
from meshnet.wire.messages import TOKEN_BYTES, MessageType, pack_message, parse_message

# Our choice. A handshake is three packets; who needs longer is not a peer, or cannot be one.
HANDSHAKE_TIMEOUT_S = 5.0
# Design section 6: an idle neighbour's death is known within 25 s.
LINK_PING_INTERVAL_S = 10.0
LINK_TIMEOUT_S = 25.0
LINK_SUSPECT_S = 1.5
# A change of links is told, and routes follow what is told, this much later: one record and one
# computation for many changes at once. Design section 6 allows 200 ms together.
PUBLISH_DELAY_S = 0.05
ROUTES_DELAY_S = 0.02
# A life has 2^40 numbers (of handshakes, of records) to itself, 2^24 lives fit 64 bits: so the
# state on disk is written once a start and the numbers still rise for ever.
STAMPS_PER_GENERATION = 2**40

_LASTING = {
    CloseCode.OTHER_NETWORK,
    CloseCode.OTHER_VERSION,
    CloseCode.WRONG_PASSWORD,
    CloseCode.BAD_IDENTITY,
    CloseCode.SAME_IDENTITY,
}


class _Task(enum.Enum):
    HANDSHAKE_TIMEOUT = 1
    LINK_PING = 2
    SWEEP = 3
    ROUTES = 4
    PUBLISH = 5


@define(frozen=True)
class EngineConfig:
    """What one engine is. ``generation`` rises with each start from the same identity.

    ``psk`` is offered; it and ``other_psks`` are accepted.
    """

    identity: Identity
    psk: bytes = field(repr=False)
    network: str = "meshnet"
    nickname: str = ""
    incarnation: int = 0
    generation: int = 0
    life: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    overlay_mtu: int = DEFAULT_OVERLAY_MTU
    ciphers: tuple[CipherId, ...] = DEFAULT_PREFERENCE
    discovery: bool = True
    capabilities: int = 0
    key_life: KeyLife = DEFAULT_KEY_LIFE
    other_psks: tuple[bytes, ...] = field(default=(), repr=False)
    trusted_subnets: tuple[Subnet, ...] = ()


@define(frozen=True)
class Dial:
    """A TCP connection to make; answer with `link_opened` or `dial_failed` and the same target.

    ``turn`` counts the dials of this target before this one: of the addresses of a name, each is
    to have its turn.
    """

    target_id: int
    host: str
    port: int
    turn: int = 0


class Engine:
    """One peer, without its sockets."""

    def __init__(self, config: EngineConfig, rng: Rng, now: float) -> None:
        self.config = config
        self.name = config.identity.name
        self.counters = Counters()
        self.data_path = DataPath(self.name, Switch(config.overlay_mtu), self.counters)
        self._rng = rng
        self._network_id = network_id(config.network)
        psks = (config.psk, *config.other_psks)
        self._link_config = LinkConfig(
            config.identity,
            self._network_id,
            psks,
            config.life,
            config.capabilities,
            config.key_life,
        )
        first_number = config.generation * STAMPS_PER_GENERATION
        self._sequence = first_number
        self._sessions = SessionKeeper(
            config.identity,
            self._network_id,
            psks,
            ciphers=config.ciphers,
            capabilities=config.capabilities,
            first_stamp=first_number,
            data_path=self.data_path,
            rng=rng,
            key_life=config.key_life,
        )
        self.set_trusted_subnets(config.trusted_subnets, now)
        self._targets = Targets(self.name, rng)
        self._records = RecordTable()
        self._members: dict[bytes, PeerName] = {}
        self._links: dict[LinkId, Link] = {}
        self._by_peer: dict[PeerName, Link] = {}
        self._ended: list[LinkOutput] = []
        self._dials: list[Dial] = []
        self._dial_serials = itertools.count(1)
        self._timers: Timers[tuple[_Task, LinkId]] = Timers()
        self._events: deque[Event] = deque()
        self._endpoints = config.endpoints
        self._routes: dict[PeerName, Route] = {}
        self._relay_buckets = RelayBuckets()
        self._link_guard = LinkGuard()
        self._reporter = Reporter(
            self.name,
            config.overlay_mtu,
            self._records,
            self._by_peer,
            self._sessions,
            self._targets,
        )
        self._stopping = False
        self._publish_record()
        self._timers.set((_Task.SWEEP, 0), now + SWEEP_INTERVAL_S)

    # Inputs: users.

    def connect(self, host: str, port: int, now: float) -> None:
        """Keep a link to whoever answers at this address."""
        self._targets.add_configured(host, port, now)
        self._dial_due(now)

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """Offer the first and accept all of them from now on.

        What stands goes on; its keys are renewed with what is accepted then, or not at all.
        """
        self._link_config = evolve(self._link_config, psks=psks)
        self._sessions.use_psks(psks)
        for link in self._links.values():
            link.protocol.use_psks(psks)

    def set_trusted_subnets(self, subnets: Iterable[Subnet], now: float) -> None:
        """Exchange frames in clear with peers within these, where they agree; seal all others."""
        self._sessions.use_trusted(TrustedSubnets(subnets), now)

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Announce other addresses of ours from now on."""
        self._endpoints = tuple(endpoints)
        self._publish_record()

    def ping(self, peer: PeerName, now: float) -> int | None:
        """Probe ``peer``'s data session; a `ProbeAnswered` with the returned id follows, or never.

        None when there is no session.
        """
        return self._sessions.ping(peer, now)

    def stop(self, now: float) -> None:
        """Say goodbye on every link; drain and send, then the engine is done."""
        self._stopping = True
        # Those that we reach without a link learn of it by a record without links.
        self._publish_record()
        for link in list(self._links.values()):
            self._close_link(link, CloseCode.SHUTDOWN, "we are shutting down", now)

    # Inputs: the driver.

    def link_opened(
        self, link_id: LinkId, remote: Endpoint, target_id: int | None, now: float
    ) -> None:
        """A TCP connection stands: dialled for ``target_id``, or accepted when that is None."""
        outbound = target_id is not None
        if not outbound and not self._link_guard.admits(remote, self._links.values(), now):
            self.counters.drops[DropReason.LINK_LIMIT] += 1
            self._ended.append(LinkOutput(link_id, b"", close=True))
            return
        if not outbound and (idle := self._link_guard.to_make_room(self._links.values())):
            self._close_link(idle, CloseCode.TIMEOUT, "made room for another connection", now)
        protocol = LinkProtocol(
            self._link_config,
            dialler=outbound,
            rng=self._rng,
            serial=next(self._dial_serials) if outbound else 0,
        )
        link = Link(link_id, protocol, remote, outbound, target_id, heard_at=now)
        self._links[link_id] = link
        self._timers.set((_Task.HANDSHAKE_TIMEOUT, link_id), now + HANDSHAKE_TIMEOUT_S)

    def receive_link_bytes(self, link_id: LinkId, data: bytes, now: float) -> None:
        """Bytes of a link, in any cut. Bytes of a link already ended are ignored."""
        link = self._links.get(link_id)
        if link is None:
            return
        link.heard_at = now
        failure: RemoteProtocolError | None = None
        try:
            link.protocol.receive(data, now)
        except RemoteProtocolError as error:
            failure = error
        # An event may end the link (a duplicate, a malformed record): what follows is moot then.
        while link_id in self._links and (event := link.protocol.next_event()) is not None:
            self._on_link_event(link, event, now)
        if failure is not None and link_id in self._links:
            self._end_link(link, str(failure), now, code=failure.code, by_peer=False)

    def link_ended(self, link_id: LinkId, reason: str, now: float) -> None:
        """The connection is gone, whoever ended it; nothing happens if we did."""
        link = self._links.get(link_id)
        if link is not None:
            self._end_link(link, reason, now, code=None, by_peer=False)

    def dial_failed(self, target_id: int, reason: str, now: float) -> None:
        """A `Dial` came to nothing."""
        target = self._targets.get(target_id)
        if target is not None:
            address = str(target)
            self._targets.failed(target_id, reason, now, refused=False)
            self._events.append(DialFailed(address, reason, target.failures))

    def receive_datagrams(self, datagrams: Iterable[Datagram], now: float) -> None:
        """A burst from the UDP socket."""
        others = self.data_path.receive_datagrams(datagrams, now)
        for datagram, source in others:
            drop = self._sessions.receive_datagram(datagram, source, self._members, now)
            if drop is not None:
                self.counters.drops[drop] += 1
        if self.data_path.confirmed or self.data_path.probe_acks:
            self._sessions.drain_data_path(now)

    def receive_frames(self, frames: Iterable[bytes], now: float) -> None:
        """A burst from the local side."""
        self.data_path.receive_frames(frames, now)

    def handle_timer(self, now: float) -> None:
        for task, link_id in self._timers.pop_due(now):
            if task is _Task.SWEEP:
                self.data_path.switch.sweep(now)
                self._timers.set((_Task.SWEEP, 0), now + SWEEP_INTERVAL_S)
            elif task is _Task.PUBLISH:
                self._publish_record()
            elif task is _Task.ROUTES:
                self._compute_routes(now)
            elif (link := self._links.get(link_id)) is not None:
                self._link_timer(link, task, now)
        self._sessions.handle_timer(now)
        self._dial_due(now)

    # Outputs.

    def links_to_send(self) -> list[LinkOutput]:
        """Bytes to write, in order; an output with ``close`` is the last of its link."""
        for datagram, peer in self._sessions.relayed_to_send():
            self._pass_on(self.name, peer, MAX_HOPS, datagram)
        outputs, self._ended = self._ended, []
        for link in self._links.values():
            if data := link.protocol.data_to_send():
                outputs.append(LinkOutput(link.id, data, close=False))
        return outputs

    def dials_to_make(self) -> list[Dial]:
        dials, self._dials = self._dials, []
        return dials

    def datagrams_to_send(self) -> Sequence[Datagram]:
        handshakes = self._sessions.datagrams_to_send()
        datagrams = self.data_path.datagrams_to_send()
        return [*handshakes, *datagrams] if handshakes else datagrams

    def frames_to_deliver(self) -> Sequence[bytes]:
        """Frames for the local side, in order."""
        return self.data_path.frames_to_deliver()

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else self._sessions.next_event()

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not before another input."""
        deadlines = (
            self._timers.next_deadline(),
            self._sessions.next_deadline(),
            self._targets.next_deadline() if not self._stopping else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Views.

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The addresses we announce."""
        return self._endpoints

    def peers_with_session(self) -> list[PeerName]:
        """The peers to which frames flow."""
        return [pair.peer for pair in self._sessions if pair.current is not None]

    def routes(self) -> dict[PeerName, Route]:
        """The way to every peer that can be reached."""
        return self._routes

    def find_peers(self, text: str) -> list[PeerName]:
        """Other peers by name, by a front part of it (8 digits or more), or by nickname.

        Of several with one nickname only those with a session, if there are any.
        """
        others = [record for record in self._records if record.name != self.name]
        found = [record.name for record in others if record.nickname == text]
        if not found and len(text) >= 8:
            found = [record.name for record in others if str(record.name).startswith(text)]
        return [name for name in self.peers_with_session() if name in found] or found

    @property
    def reports(self) -> Reporter:
        """What `meshnet report` shows of all this."""
        return self._reporter

    # Links.

    def _on_link_event(self, link: Link, event: LinkEvent, now: float) -> None:
        if isinstance(event, LinkAuthenticated):
            self._link_authenticated(link, event, now)
        elif isinstance(event, RecordReceived):
            self._receive_record(link, event.plaintext, now)
        elif isinstance(event, LinkClosed):
            self._end_link(link, event.text, now, code=event.code, by_peer=True)

    def _link_authenticated(self, link: Link, who: LinkAuthenticated, now: float) -> None:
        link.authenticated = who
        self._timers.cancel((_Task.HANDSHAKE_TIMEOUT, link.id))
        known = self._by_peer.get(who.peer)
        self._targets.linked(who.peer, link.target_id, now)
        if known is not None:
            extra = surplus(self.name, known, link)
            code = CloseCode.DUPLICATE_LINK
            if extra is link:
                # Whoever dials again may have lost the link we hold: it must show that it lives.
                self._suspect(known, now)
                self._close_link(link, code, code.text, now)
                return
            self._by_peer[who.peer] = link
            self._close_link(known, code, code.text, now)
        self._by_peer[who.peer] = link
        self._members[x25519_public_of(who.public_key)] = who.peer
        keys_at = link.protocol.next_deadline()
        self._timers.set((_Task.LINK_PING, link.id), min(now + LINK_PING_INTERVAL_S, keys_at))
        if known is None:
            self._events.append(LinkEstablished(who.peer, link.remote, link.outbound))
        self._sessions.peer_reachable(
            who.peer,
            x25519_public_of(who.public_key),
            who.life,
            direct=self._addresses_of(link),
            relay=False,
            lead=link.outbound,
            now=now,
        )
        if known is None:
            self._links_changed(now)
        for record in self._records:
            if record.name != who.peer:
                self._send_message(link, MessageType.PEER_RECORD, record.raw)

    def _link_timer(self, link: Link, task: _Task, now: float) -> None:
        code = CloseCode.TIMEOUT
        suspected_at, link.suspected_at = link.suspected_at, None
        if task is _Task.HANDSHAKE_TIMEOUT:
            self._close_link(link, code, "the handshake was not finished in time", now)
        elif suspected_at is not None and link.heard_at <= suspected_at:
            self._close_link(link, code, "the peer has lost this link", now)
        elif now >= link.heard_at + LINK_TIMEOUT_S:
            self._close_link(link, code, f"nothing heard for {LINK_TIMEOUT_S:.0f} s", now)
        elif not link.protocol.keep_fresh(now):
            self._end_link(link, KEYS_EXPIRED, now, code=None, by_peer=False)
        else:
            self._send_message(link, MessageType.PING, self._rng(TOKEN_BYTES))
            deadline = min(now + LINK_PING_INTERVAL_S, link.heard_at + LINK_TIMEOUT_S)
            deadline = min(deadline, link.protocol.next_deadline())
            self._timers.set((_Task.LINK_PING, link.id), deadline)

    def _suspect(self, link: Link, now: float) -> None:
        """End ``link`` unless it is heard soon."""
        if link.suspected_at is None:
            link.suspected_at = now
            self._send_message(link, MessageType.PING, self._rng(TOKEN_BYTES))
            self._timers.set((_Task.LINK_PING, link.id), now + LINK_SUSPECT_S)

    def _send_message(self, link: Link, message_type: MessageType, body: bytes) -> None:
        if link.protocol.state is LinkState.ESTABLISHED:
            link.protocol.send_record(pack_message(message_type, body))

    def _close_link(self, link: Link, code: CloseCode, reason: str, now: float) -> None:
        link.protocol.close(code)
        self._end_link(link, reason, now, code=code, by_peer=False)

    def _end_link(
        self, link: Link, reason: str, now: float, *, code: CloseCode | None, by_peer: bool
    ) -> None:
        """The one way a link ends. ``code``: as closed by us, or by the other end (``by_peer``)."""
        del self._links[link.id]
        for task in (_Task.HANDSHAKE_TIMEOUT, _Task.LINK_PING):
            self._timers.cancel((task, link.id))
        self._ended.append(LinkOutput(link.id, link.protocol.data_to_send(), close=True))
        peer = link.peer
        if peer is not None and self._by_peer.get(peer) is link:
            del self._by_peer[peer]
            self._targets.unlinked(peer, reason, now)
            self._events.append(LinkLost(peer, reason))
            gone = self._stopping or (by_peer and code is CloseCode.SHUTDOWN)
            if gone:
                self._routes.pop(peer, None)
                self._sessions.peer_unreachable(peer, gone=True, reason=reason, now=now)
            if not self._stopping:
                self._links_changed(now)
                # At once, since what went that way is lost until then.
                self._compute_routes(now)
        elif peer is None:
            # What the other end says in clear, anyone could have said: it may delay a target, but
            # only what we saw ourselves may end one.
            if code is CloseCode.SELF and not by_peer:
                self._targets.is_ourselves(link.target_id, reason, now)
            else:
                self._targets.failed(link.target_id, reason, now, refused=code in _LASTING)
            self._events.append(LinkRefused(link.remote, link.outbound, reason, code, by_peer))

    # Records.

    def _receive_record(self, link: Link, plaintext: bytes, now: float) -> None:
        try:
            message_type, body = parse_message(plaintext)
        except MalformedError as error:
            self._close_link(link, CloseCode.PROTOCOL_ERROR, str(error), now)
            return
        if message_type is MessageType.PING:
            self._send_message(link, MessageType.PONG, body)
        elif message_type is MessageType.PEER_RECORD:
            self._receive_peer_record(link, body, now)
        elif message_type is MessageType.RELAYED:
            self._receive_relayed(link, body, now)

    def _receive_peer_record(self, link: Link, raw: bytes, now: float) -> None:
        if self._records.holds(raw):
            return  # Most records come by many links.
        try:
            record = read_record(raw, self._network_id)
            static = x25519_public_of(record.public_key)
        except BadRecord as error:
            self._ignore_record(link, error.reason, str(error))
            return
        except MeshError as error:
            self._ignore_record(link, DropReason.BAD_PEER_RECORD, str(error))
            return
        if record.name == self.name:
            ours = self._records.get(self.name)
            if ours is not None and ours.order < record.order and record.sequence < MAX_SEQUENCE:
                # We wrote that in an earlier life that our disk has forgotten: go on above it.
                self._sequence = record.sequence
                self._publish_record()
            return
        known = self._records.get(record.name)
        if known is None:
            self._make_room(now)
        if not self._records.put(record):
            if known is not None and record.order < known.order and link.peer is not None:
                # Whoever still has the older one shall have ours, its writer above all: a peer
                # whose disk was set back learns so that it must go on above what it once wrote.
                self._send_message(link, MessageType.PEER_RECORD, known.raw)
            return
        self._members[static] = record.name
        if known is None:
            self._events.append(PeerDiscovered(record.name, record.nickname))
        if self.config.discovery:
            self._targets.set_discovered(record.name, record.endpoints, now)
            self._dial_due(now)
        linked = self._by_peer.get(record.name)
        if linked is not None:
            self._sessions.set_direct(record.name, self._addresses_of(linked))
        if not record.links and linked is None:
            reason = CloseCode.SHUTDOWN.text
            self._sessions.peer_unreachable(record.name, gone=True, reason=reason, now=now)
        if known is None or (known.links, known.life) != (record.links, record.life):
            self._timers.set((_Task.ROUTES, 0), now + ROUTES_DELAY_S)
        self._spread(record, except_link=link)

    def _make_room(self, now: float) -> None:
        """Bound what members can make us hold: those we are linked to are never forgotten."""
        forgotten = self._records.make_room(keep={self.name, *self._by_peer})
        if forgotten is not None:
            self._members.pop(x25519_public_of(forgotten.public_key), None)
            self._targets.set_discovered(forgotten.name, (), now)

    def _ignore_record(self, link: Link, reason: DropReason, text: str) -> None:
        self.counters.drops[reason] += 1
        if link.peer is not None:
            self._events.append(RecordIgnored(link.peer, reason, text))

    def _publish_record(self) -> None:
        self._sequence += 1
        config = self.config
        record = write_record(
            config.identity,
            self._network_id,
            incarnation=config.incarnation,
            sequence=self._sequence,
            nickname=config.nickname,
            overlay_mtu=config.overlay_mtu,
            capabilities=config.capabilities,
            life=config.life,
            endpoints=self._endpoints,
            links=sorted(self._by_peer)[:MAX_LINKS] if not self._stopping else (),
        )
        self._records.put(record)
        self._spread(record, except_link=None)

    def _spread(self, record: PeerRecord, *, except_link: Link | None) -> None:
        """Pass a record on to the neighbours that its writer does not itself tell."""
        for peer, link in self._by_peer.items():
            if link is except_link or peer == record.name:
                continue
            if record.name == self.name or peer not in record.links:
                self._send_message(link, MessageType.PEER_RECORD, record.raw)

    # Routes.

    def _links_changed(self, now: float) -> None:
        if not self._stopping:
            self._timers.set((_Task.PUBLISH, 0), now + PUBLISH_DELAY_S)
            self._timers.set((_Task.ROUTES, 0), now + ROUTES_DELAY_S)

    def _compute_routes(self, now: float) -> None:
        """Bring the table, the data path and the sessions in line with who is linked to whom."""
        announced: dict[PeerName, Collection[PeerName]] = {
            record.name: record.links for record in self._records
        }
        announced[self.name] = self._by_peer.keys()
        for peer in self._by_peer:
            # Our own links are facts, whether the other end has announced them yet or not.
            announced[peer] = {self.name, *announced.get(peer, ())}
        self._routes = shortest_routes(self.name, announced)
        self._reporter.routes = self._routes
        self.data_path.next_hops = {peer: route.via for peer, route in self._routes.items()}
        self._targets.set_relayed(self._routes.keys() - self._by_peer.keys())
        for peer in self._routes.keys() - self._by_peer.keys():
            self._reach_through_others(peer, now)
        for pair in list(self._sessions):
            if pair.peer not in self._routes:
                self._sessions.peer_unreachable(pair.peer, gone=False, reason="no route", now=now)

    def _reach_through_others(self, peer: PeerName, now: float) -> None:
        record = self._records.get(peer)
        if record is not None:
            self._sessions.peer_reachable(
                peer,
                x25519_public_of(record.public_key),
                record.life,
                direct=record.endpoints,
                relay=True,
                lead=self.name < peer,
                now=now,
            )

    def _receive_relayed(self, link: Link, body: bytes, now: float) -> None:
        """A handshake datagram that a neighbour passes on: ours, or to be passed on further."""
        came_from = link.peer
        if len(body) <= RELAY_HEADER.size or came_from is None:
            self._close_link(link, CloseCode.PROTOCOL_ERROR, "malformed relayed datagram", now)
            return
        src_bytes, dst_bytes, hops_left = RELAY_HEADER.unpack_from(body)
        src, dst, datagram = PeerName(src_bytes), PeerName(dst_bytes), body[RELAY_HEADER.size :]
        drop: DropReason | None = None
        if dst == self.name:
            if len(datagram) < HEADER_BYTES:
                drop = DropReason.TRUNCATED
            else:
                drop = self._sessions.receive_datagram(datagram, src, self._members, now)
        elif hops_left == 0:
            drop = DropReason.HOP_LIMIT
        elif not self._relay_buckets.take(came_from, len(datagram), now):
            drop = DropReason.RELAY_RATE
        else:
            self._pass_on(src, dst, hops_left - 1, datagram)
        if drop is not None:
            self.counters.drops[drop] += 1

    def _pass_on(self, src: PeerName, dst: PeerName, hops_left: int, datagram: bytes) -> None:
        route = self._routes.get(dst)
        link = self._by_peer.get(route.via) if route is not None else None
        if link is None:
            self.counters.drops[DropReason.NO_ROUTE] += 1
        else:
            header = RELAY_HEADER.pack(src, dst, hops_left)
            self._send_message(link, MessageType.RELAYED, header + datagram)

    def _addresses_of(self, link: Link) -> list[Endpoint]:
        """Where the other end of ``link`` may be reached by UDP, best guess first."""
        record = self._records.get(link.peer) if link.peer is not None else None
        announced = record.endpoints if record is not None else ()
        if link.outbound:
            return [link.remote, *announced]
        # Who dialled us did so from a random port; the host is right, the port is announced.
        return sorted(announced, key=lambda endpoint: endpoint.host != link.remote.host)

    # Targets.

    def _dial_due(self, now: float) -> None:
        if not self._stopping:
            for target in self._targets.due(now):
                address = target.dialled or target.address
                self._dials.append(Dial(target.id, *address, turn=target.dials - 1))
