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
from collections.abc import Iterable, Sequence

from attrs import define, field

from meshnet import report
from meshnet.discovery.targets import Target, Targets, TargetState
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
    MAX_SEQUENCE,
    BadRecord,
    PeerRecord,
    RecordTable,
    read_record,
    write_record,
)
from meshnet.ids import Endpoint, PeerName, network_id
from meshnet.peering.data_path import Counters, Datagram, DataPath
from meshnet.peering.links import Link, LinkId, LinkOutput, surplus
from meshnet.peering.sessions import SessionKeeper
from meshnet.ports import Rng
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.switch.switch import SWEEP_INTERVAL_S, Switch
from meshnet.timers import Timers
from meshnet.wire.ciphers import DEFAULT_PREFERENCE, CipherId
from meshnet.wire.crypto import x25519_public_of
from meshnet.wire.cursor import MalformedError
from meshnet.wire.identity import Identity
from meshnet.wire.link import (
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


@define(frozen=True)
class EngineConfig:
    """What one engine is. ``generation`` rises with each start from the same identity."""

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


@define(frozen=True)
class Dial:
    """A TCP connection to make; answer with `link_opened` or `dial_failed` and the same target."""

    target_id: int
    host: str
    port: int


class Engine:
    """One peer, without its sockets."""

    def __init__(self, config: EngineConfig, rng: Rng, now: float) -> None:
        self.config = config
        self.name = config.identity.name
        self.counters = Counters()
        self.data_path = DataPath(Switch(config.overlay_mtu), self.counters)
        self._rng = rng
        self._network_id = network_id(config.network)
        self._link_config = LinkConfig(
            config.identity, self._network_id, config.psk, config.life, config.capabilities
        )
        first_number = config.generation * STAMPS_PER_GENERATION
        self._sequence = first_number
        self._sessions = SessionKeeper(
            config.identity,
            self._network_id,
            config.psk,
            ciphers=config.ciphers,
            capabilities=config.capabilities,
            first_stamp=first_number,
            data_path=self.data_path,
            rng=rng,
        )
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
        self._stopping = False
        self._publish_record()
        self._timers.set((_Task.SWEEP, 0), now + SWEEP_INTERVAL_S)

    # Inputs: users.

    def connect(self, host: str, port: int, now: float) -> None:
        """Keep a link to whoever answers at this address."""
        self._targets.add_configured(host, port, now)
        self._dial_due(now)

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
        for link in list(self._links.values()):
            self._close_link(link, CloseCode.SHUTDOWN, "we are shutting down", now)

    # Inputs: the driver.

    def link_opened(
        self, link_id: LinkId, remote: Endpoint, target_id: int | None, now: float
    ) -> None:
        """A TCP connection stands: dialled for ``target_id``, or accepted when that is None."""
        outbound = target_id is not None
        protocol = LinkProtocol(self._link_config, dialler=outbound, ephemeral_secret=self._rng(32))
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
            link.protocol.receive(data)
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
            elif (link := self._links.get(link_id)) is not None:
                self._link_timer(link, task, now)
        self._sessions.handle_timer(now)
        self._dial_due(now)

    # Outputs.

    def links_to_send(self) -> list[LinkOutput]:
        """Bytes to write, in order; an output with ``close`` is the last of its link."""
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
        return [
            peer
            for peer in self._by_peer
            if (pair := self._sessions.pair(peer)) is not None and pair.current is not None
        ]

    def find_peer(self, text: str) -> PeerName | None:
        """A peer by name, by a front part of it (8 digits or more), or by unique nickname."""
        others = [record for record in self._records if record.name != self.name]
        by_nickname = [record.name for record in others if record.nickname == text]
        if len(by_nickname) == 1:
            return by_nickname[0]
        by_prefix = [r.name for r in others if len(text) >= 8 and str(r.name).startswith(text)]
        return by_prefix[0] if len(by_prefix) == 1 else None

    def connection_reports(self) -> list[report.ConnectionReport]:
        rows = [self._linked_report(link) for link in self._by_peer.values()]
        shown = {target for target in self._targets if target.peer in self._by_peer}
        # A peer that was configured and heard of is one row; the address a user gave has the say.
        seen: set[PeerName] = set()
        for target in sorted(self._targets, key=lambda target: not target.configured):
            if target in shown or (target.peer is not None and target.peer in seen):
                continue
            if target.peer is not None:
                seen.add(target.peer)
            rows.append(self._target_report(target))
        return rows

    def peer_reports(self) -> list[report.PeerReport]:
        established = set(self.peers_with_session())
        rows: list[report.PeerReport] = []
        for record in self._records:
            ours = record.name == self.name
            connected = list(self._by_peer) if ours else [self.name]
            rows.append(
                {
                    "name": str(record.name),
                    "nickname": record.nickname,
                    "reachable": ours or record.name in established,
                    "connections": [
                        {
                            "name": str(other),
                            "established": (other if ours else record.name) in established,
                        }
                        for other in connected
                        if ours or record.name in self._by_peer
                    ],
                }
            )
        return rows

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
        self._timers.set((_Task.LINK_PING, link.id), now + LINK_PING_INTERVAL_S)
        if known is None:
            self._events.append(LinkEstablished(who.peer, link.remote, link.outbound))
        self._sessions.peer_linked(
            who.peer,
            x25519_public_of(who.public_key),
            who.life,
            self._candidates(link),
            lead=link.outbound,
            now=now,
        )
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
        else:
            self._send_message(link, MessageType.PING, self._rng(TOKEN_BYTES))
            deadline = min(now + LINK_PING_INTERVAL_S, link.heard_at + LINK_TIMEOUT_S)
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
            gone = self._stopping or (by_peer and code is CloseCode.SHUTDOWN)
            self._sessions.peer_unlinked(peer, gone=gone, reason=reason, now=now)
            self._targets.unlinked(peer, reason, now)
            self._events.append(LinkLost(peer, reason))
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
            self._sessions.set_candidates(record.name, self._candidates(linked))
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
            endpoints=self._endpoints,
        )
        self._records.put(record)
        self._spread(record, except_link=None)

    def _spread(self, record: PeerRecord, *, except_link: Link | None) -> None:
        for link in self._by_peer.values():
            if link is not except_link and link.peer != record.name:
                self._send_message(link, MessageType.PEER_RECORD, record.raw)

    def _candidates(self, link: Link) -> list[Endpoint]:
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
                self._dials.append(Dial(target.id, *target.address))

    # Reports.

    def _linked_report(self, link: Link) -> report.ConnectionReport:
        peer = link.peer
        assert peer is not None, "links in _by_peer are authenticated"
        pair = self._sessions.pair(peer)
        record = self._records.get(peer)
        session = pair.current if pair is not None else None
        mtu = record.overlay_mtu if record is not None else None
        reason = pair.reason if pair is not None else ""
        if not reason and mtu is not None and mtu != self.config.overlay_mtu:
            reason = f"overlay MTU differs: {self.config.overlay_mtu} here, {mtu} there"
        return {
            "peer": str(peer),
            "nickname": record.nickname if record is not None else "",
            "address": str(session.remote if session is not None else link.remote),
            "direction": "outbound" if link.outbound else "inbound",
            "state": "established" if session is not None else "connecting",
            "reason": reason,
            "path": "direct" if session is not None else "",
            "encrypted": True,
            "cipher": session.cipher.name if session is not None else "",
            "rtt_ms": round(pair.rtt_s * 1e3, 3) if pair and pair.rtt_s is not None else None,
            "loss": round(pair.loss, 3) if pair and pair.loss is not None else None,
            "mtu": mtu,
        }

    def _target_report(self, target: Target) -> report.ConnectionReport:
        record = self._records.get(target.peer) if target.peer is not None else None
        states: dict[TargetState, report.ConnectionState] = {
            TargetState.CONNECTING: "connecting",
            TargetState.FAILED: "failed",
        }
        return {
            "peer": str(target.peer) if target.peer is not None else "",
            "nickname": record.nickname if record is not None else "",
            "address": str(target),
            "direction": "outbound",
            "state": states.get(target.state, "retrying"),
            "reason": target.reason,
            "path": "",
            "encrypted": False,
            "cipher": "",
            "rtt_ms": None,
            "loss": None,
            "mtu": record.overlay_mtu if record is not None else None,
        }
