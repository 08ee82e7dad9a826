"""The way of a frame: TAP frame in, sealed datagrams out, and back (docs/architecture.md).

Everything here runs per frame, so values are tuples and bytes, and nothing raises: what cannot be
carried is dropped and counted under its `DropReason`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from attrs import define, field

from meshnet.errors import AuthenticationError, DropReason
from meshnet.events import Event, FloodLimited, LoopSuspected
from meshnet.ids import Endpoint, PeerName, Remote, format_mac
from meshnet.peering.held_frames import HeldFrames
from meshnet.peering.relay_rate import RelayBuckets
from meshnet.switch.announce import EVERYBODY, Announcer, arrival_notice
from meshnet.switch.claims import ClaimTable
from meshnet.switch.storm import StormLimit
from meshnet.switch.switch import Switch, Verdict
from meshnet.topology.routes import MAX_HOPS
from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import (
    HEADER,
    HEADER_BYTES,
    PROBE_BYTES,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
    parse_parts,
)
from meshnet.wire.session import Session

Datagram = tuple[bytes, Endpoint]
"""(the UDP payload, where it goes or came from)."""

_DROP_OF = {
    Verdict.RUNT: DropReason.RUNT_FRAME,
    Verdict.OVERSIZED: DropReason.OVERSIZED_FRAME,
    Verdict.BAD_SOURCE: DropReason.BAD_SOURCE,
}
# From wire.md section 5.4: what we answer or pass on, and so one to a datagram. Or a peer could
# have us send hundreds for each that it sends, to whatever address it gives as its own.
_OF_BROADCASTS = frozenset((PartType.BROADCAST, PartType.KEY_WANT, PartType.KEY))
_ACTED_ON = frozenset((PartType.PROBE, PartType.RELAY, PartType.MESSAGE)) | _OF_BROADCASTS


@define(eq=False, repr=False)
class Counters:
    """What one peer has done; plain integers that only rise."""

    frames_sent: int = 0
    frames_received: int = 0
    frames_held: int = 0
    frame_bytes_sent: int = 0
    frame_bytes_received: int = 0
    datagrams_sent: int = 0
    datagrams_received: int = 0
    datagrams_relayed: int = 0
    broadcasts_sent: int = 0
    broadcasts_passed_on: int = 0
    broadcasts_repeated: int = 0
    handshakes_started: int = 0
    handshakes_answered: int = 0
    link_bytes_sent: int = 0
    link_bytes_received: int = 0
    drops: Counter[DropReason] = field(factory=Counter)


class Broadcaster(Protocol):
    """What carries frames for all where there are not sessions with all."""

    def send(self, frame: bytes, now: float) -> DropReason | None:
        """A frame from the local side, to all. Why was it not sent?"""

    def receive(
        self, kind: PartType, body: bytes, came_from: PeerName, now: float
    ) -> DropReason | None:
        """A part about broadcasts that a session brought; what was wrong with it."""


class DataPath:
    """Joins the switch and the sessions of one peer.

    ``confirmed`` collects sessions whose first datagram has just proved the other end's keys, and
    ``probe_acks`` answered probes (session, probe id): both for the session keeper to drain.
    ``unanswered`` are those by which something was sent for the first time since they were heard.
    ``moved`` are sessions whose datagrams come from elsewhere now; ``heard_again`` those that were
    given up and yet bring something; ``probed`` those whose other end asks, amid frames, whether we
    are there. What makes these lists long is a burst of datagrams: each is drained with it.
    ``messages`` are parts that concern neither frames nor sessions, with who sent them.
    """

    def __init__(self, our_name: PeerName, switch: Switch, counters: Counters) -> None:
        self._our_name = our_name
        self.switch = switch
        self.paths_changed = False
        """Whether there are other peers now that are reached directly; the engine resets it."""
        self.next_hops: dict[PeerName, PeerName] = {}
        """The neighbour to hand things for a peer to; the engine keeps it."""
        self.neighbours: Collection[PeerName] = ()
        """The peers that are linked; a live view, which the engine sets."""
        self.broadcast: Broadcaster | None = None
        """Set by the engine; frames for all go by it while we are ``crowded``."""
        self.crowded = False
        """Whether there are more peers than we have sessions with; the router keeps it."""
        self.on_demand = False
        """Whether a session is set up with who is not linked when frames for it are there."""
        self.held = HeldFrames()
        """Those frames."""
        self.wanted: dict[PeerName, float] = {}
        """With whom a session is wanted, and since when; for the session keeper to drain."""
        self._relay_buckets = RelayBuckets()
        self._storm = StormLimit()
        self._claims = ClaimTable()
        self._announcer = Announcer()
        self._events: deque[Event] = deque()
        self.counters = counters
        self.confirmed: list[Session] = []
        self.probe_acks: list[tuple[Session, int]] = []
        self.messages: list[tuple[PeerName, PartType, bytes]] = []
        self.unanswered: list[Session] = []
        self.moved: list[Session] = []
        self.heard_again: list[Session] = []
        self.probed: list[Session] = []
        self._by_index: dict[int, Session] = {}
        self._current: dict[PeerName, Session] = {}
        self._datagrams: list[Datagram] = []
        self._frames: list[bytes] = []

    @property
    def has_news(self) -> bool:
        """Whether the keeper of sessions has something to take up."""
        return bool(
            self.confirmed or self.probe_acks or self.probed or self.moved or self.heard_again
        )

    def knows_index(self, index: int) -> bool:
        return index in self._by_index

    def add_session(self, session: Session) -> None:
        """Receive by ``session`` from now on."""
        self._by_index[session.our_index] = session

    def remove_session(self, session: Session) -> None:
        self._by_index.pop(session.our_index, None)
        self.stop_using(session)

    def use_session(self, session: Session) -> None:
        """Send to its peer by ``session`` from now on."""
        before = self._current.get(session.peer)
        if before is None:
            self._announce_to(session)
        if before is None or type(before.remote) is not type(session.remote):
            self._path_changed(session.peer)
        self._current[session.peer] = session

    def _announce_to(self, session: Session) -> None:
        """Tell who can hear us from now on where our addresses are."""
        if not self.crowded:
            self._announcer.peer_up(session.peer, session.created_at)
        elif session.peer in self.neighbours and not self._has_neighbour:
            self._announcer.peer_up(EVERYBODY, session.created_at)

    @property
    def _has_neighbour(self) -> bool:
        return any(peer in self._current for peer in self.neighbours)

    def _path_changed(self, peer: PeerName) -> None:
        # By those that come on demand nothing is passed on for others.
        if not self.on_demand or peer in self.neighbours:
            self.paths_changed = True

    @property
    def direct_peers(self) -> list[PeerName]:
        """The peers to whom datagrams go without others' help."""
        return [peer for peer, session in self._current.items() if type(session.remote) is Endpoint]

    def stop_using(self, session: Session) -> None:
        """Send nothing by ``session`` any more; it is still received by."""
        if self._current.get(session.peer) is session:
            del self._current[session.peer]
            self._path_changed(session.peer)
            self._announcer.peer_down(session.peer)
            if self.crowded and not self._has_neighbour:
                self._announcer.peer_down(EVERYBODY)

    def set_own_addresses(
        self,
        mac: bytes,
        addresses: Sequence[IPv4Address | IPv6Address],
        *,
        router: bool,
        now: float,
    ) -> None:
        """This host's overlay addresses, all at ``mac``: told to peers, and watched for others'."""
        self._claims.set_own(mac, addresses)
        peers = (EVERYBODY,) if self.crowded else self._current
        self._announcer.set_own(mac, addresses, router=router, peers=peers, now=now)

    def next_deadline(self) -> float | None:
        deadlines = (
            self._announcer.next_deadline(),
            self.held.next_deadline(),
            min(self.wanted.values(), default=None),
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        for peer, frames in self._announcer.pop_due(now):
            for frame in frames:
                if peer is EVERYBODY:
                    self._flood(frame, now)
                else:
                    self._send_frame([self._current[peer]], frame, now)
        if overdue := self.held.pop_overdue(now):
            self.counters.drops[DropReason.NO_SESSION] += overdue

    def next_event(self) -> Event | None:
        if self.switch.flapping:
            self._events.extend(LoopSuspected(format_mac(mac)) for mac in self.switch.flapping)
            self.switch.flapping.clear()
        return self._events.popleft() if self._events else None

    def receive_frames(self, frames: Iterable[bytes], now: float) -> None:
        """Frames from the local side, in order."""
        drops, current = self.counters.drops, self._current
        for frame in frames:
            where = self.switch.from_local(frame, now)
            if where is Verdict.FLOOD:
                self._flood(frame, now)
            elif isinstance(where, Verdict):
                if where is not Verdict.LOCAL:
                    drops[_DROP_OF[where]] += 1
            elif (session := current.get(where)) is not None:
                self._send_frame((session,), frame, now)
            elif self.on_demand:
                self._hold(where, frame, now)
            else:
                drops[DropReason.NO_SESSION] += 1
        if self.switch.arrived:
            for mac in self.switch.arrived if current else ():
                self._flood(arrival_notice(mac), now)
            self.switch.arrived.clear()

    def _hold(self, peer: PeerName, frame: bytes, now: float) -> None:
        """Keep a frame until there is a session with ``peer``."""
        if peer not in self.held:
            self.wanted[peer] = now
        if self.held.put(peer, frame, now):
            self.counters.frames_held += 1
        else:
            self.counters.drops[DropReason.HOLD_LIMIT] += 1

    def send_held(self, session: Session, now: float) -> None:
        """There is a session now: send what waits for it."""
        for frame in self.held.take(session.peer):
            self._send_frame((session,), frame, now)

    def send_held_to_all(self, peer: PeerName, now: float) -> None:
        """There is no way to ``peer``, so what it served may be anywhere."""
        self.switch.forget_peer(peer)
        for frame in self.held.take(peer):
            self._flood(frame, now)

    def _flood(self, frame: bytes, now: float) -> None:
        """A frame from the local side to every peer."""
        drops, sessions = self.counters.drops, self._current.values()
        if frame[0] & 1:
            self._look_at(frame, None, now)
        if self.crowded and self.broadcast is not None:
            if (drop := self.broadcast.send(frame, now)) is not None:
                drops[drop] += 1
        elif not sessions:
            drops[DropReason.NO_SESSION] += 1
        elif self.may_flood(None, len(sessions), len(frame), now):
            self._send_frame(sessions, frame, now)
        else:
            drops[DropReason.STORM] += 1

    def receive_datagrams(self, datagrams: Iterable[Datagram], now: float) -> list[Datagram]:
        """Datagrams from the underlay; those of other types than DATA are given back."""
        others: list[Datagram] = []
        drops = self.counters.drops
        for datagram, source in datagrams:
            self.counters.datagrams_received += 1
            if len(datagram) < HEADER_BYTES:
                drops[DropReason.TRUNCATED] += 1
            elif datagram[0] == DatagramType.DATA:
                self._receive_data(datagram, source, now)
            elif datagram[0] == DatagramType.CLEAR_DATA:
                self._receive_clear(datagram, source, now)
            else:
                others.append((datagram, source))
        return others

    def _receive_data(self, datagram: bytes, source: Remote, now: float) -> None:
        drops = self.counters.drops
        _type, _flags, _reserved, index, counter = HEADER.unpack_from(datagram)
        session = self._by_index.get(index)
        if session is None:
            drops[DropReason.UNKNOWN_SESSION] += 1
            return
        if now >= session.expires_at:
            drops[DropReason.EXPIRED_KEY] += 1
            return
        try:
            payload = session.open(datagram)
        except AuthenticationError:
            drops[DropReason.BAD_TAG] += 1
            return
        if counter >= session.cipher.max_datagrams:
            drops[DropReason.EXPIRED_KEY] += 1
            return
        if not session.fresh(counter):
            drops[DropReason.REPLAYED] += 1
            return
        # Authenticated and not a replay: the peer is there, and it has the keys.
        if source is not session.remote:
            self._follow(session, source, counter)
        session.last_received_at = now
        if session.given_up:
            self.heard_again.append(session)
        if not session.confirmed:
            session.confirmed = True
            self.confirmed.append(session)
        self._receive_payload(session, payload, source, now)

    def _follow(self, session: Session, source: Remote, counter: int) -> None:
        """The peer is where its newest datagram came from: a NAT may have moved it, or its owner.

        Only the newest (as in RFC 9000 section 9.3), or one that was overtaken would take it back.
        A session does not change between direct and relayed, and what a relay says of the source is
        nobody's word but its own.
        """
        if type(source) is not Endpoint or type(session.remote) is not Endpoint:
            return
        if source == session.remote:
            session.remote = source  # The very object: the next comparison is over at once.
        elif session.window.is_newest(counter):
            session.remote = source
            self.moved.append(session)

    def _receive_frame(self, frame: bytes, peer: PeerName, now: float) -> None:
        counters = self.counters
        verdict = self.switch.from_peer(frame, peer, now)
        if verdict is Verdict.FLOOD:
            if frame[0] & 1:
                self._look_at(frame, peer, now)
            if not self.may_flood(peer, 1, len(frame), now):
                counters.drops[DropReason.STORM] += 1
                return
        elif verdict is not Verdict.LOCAL:
            counters.drops[_DROP_OF[verdict]] += 1
            return
        self._frames.append(frame)
        counters.frames_received += 1
        counters.frame_bytes_received += len(frame)

    def deliver(self, frame: bytes, source: PeerName, now: float) -> None:
        """A frame that ``source`` has sent to all, which was charged for by `may_flood`."""
        counters = self.counters
        verdict = self.switch.from_peer(frame, source, now)
        if (fault := _DROP_OF.get(verdict)) is not None:
            counters.drops[fault] += 1
            return
        if frame[0] & 1:
            self._look_at(frame, source, now)
        self._frames.append(frame)
        counters.frames_received += 1
        counters.frame_bytes_received += len(frame)

    def may_flood(self, side: PeerName | None, copies: int, size_bytes: int, now: float) -> bool:
        """Whether so many copies of that size may be flooded for a side now (None: ours)."""
        if self._storm.take(side, copies, size_bytes, now):
            return True
        if self._storm.is_news(side, now):
            self._events.append(FloodLimited(side))
        return False

    def _look_at(self, frame: bytes, side: PeerName | None, now: float) -> None:
        conflict = self._claims.see(frame, side, now)
        if conflict is not None:
            self._events.append(conflict)

    def has_session(self, peer: PeerName) -> bool:
        """Whether parts can be sent to ``peer``."""
        return peer in self._current

    def may_pass_on(self, came_from: PeerName, size_bytes: int, now: float) -> bool:
        """Whether that much may be passed on for a neighbour now."""
        return self._relay_buckets.take(came_from, size_bytes, now)

    def send_part(
        self, peer: PeerName, part: bytes, now: float, *, wants_answer: bool = True
    ) -> bool:
        """Send a packed part in the session with ``peer``; False when there is none.

        What wants an answer and finds no session has one set up, where these come on demand.
        """
        session = self._current.get(peer)
        if session is None:
            if wants_answer and self.on_demand:
                self.wanted.setdefault(peer, now)
            return False
        return self._send(session, part, now, wants_answer=wants_answer)

    def send_probe(self, session: Session, probe_id: int, now: float) -> None:
        """Ask the other end of ``session`` for a sign of life."""
        self._send(session, pack_part(PartType.PROBE, probe_id.to_bytes(PROBE_BYTES, "big")), now)

    def datagrams_to_send(self) -> Sequence[Datagram]:
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def frames_to_deliver(self) -> Sequence[bytes]:
        frames, self._frames = self._frames, []
        return frames

    def _send_frame(self, sessions: Collection[Session], frame: bytes, now: float) -> None:
        """One copy by each of ``sessions``."""
        part = pack_part(PartType.FRAME, frame)
        copies = sum(self._send_one(session, part, now) for session in sessions)
        self.counters.frames_sent += copies
        self.counters.frame_bytes_sent += copies * len(frame)

    def _send_one(self, session: Session, part: bytes, now: float) -> bool:
        """As `_send`; the one place where anything leaves in clear, by agreement only."""
        session.was_used = True
        remote = session.remote
        if not session.is_clear or type(remote) is not Endpoint or session.spent(now):
            return self._send(session, part, now)
        self._expect_answer(session, now)
        self._datagrams.append((session.write_clear(part), remote))
        self.counters.datagrams_sent += 1
        return True

    def _receive_clear(self, datagram: bytes, source: Endpoint, now: float) -> None:
        """Frames in clear: nothing shows who sent them, so they confirm and move nothing."""
        drops = self.counters.drops
        _type, _flags, _reserved, index, counter = HEADER.unpack_from(datagram)
        session = self._by_index.get(index)
        if session is None:
            drops[DropReason.UNKNOWN_SESSION] += 1
        elif now >= session.expires_at:
            drops[DropReason.EXPIRED_KEY] += 1
        elif session.clear_with != source:
            drops[DropReason.UNTRUSTED] += 1
        elif not session.clear_window.accept(counter):
            drops[DropReason.REPLAYED] += 1
        else:
            try:
                parts = parse_parts(datagram[HEADER_BYTES:])
            except MalformedError:
                drops[DropReason.MALFORMED_PART] += 1
                return
            session.was_used = True
            for part_type, body in parts:
                if part_type == PartType.FRAME:
                    self._receive_frame(body, session.peer, now)
                else:
                    drops[DropReason.UNTRUSTED] += 1  # All else has to be sealed.

    def _expect_answer(self, session: Session, now: float) -> None:
        """Watch for silence from now on, unless that is so already."""
        if session.unanswered_since <= session.last_received_at:
            session.unanswered_since = now
            self.unanswered.append(session)

    def _send(
        self, session: Session, parts: bytes, now: float, *, wants_answer: bool = True
    ) -> bool:
        """Seal and send; False, and counted, when nothing may be sealed by ``session``.

        ``wants_answer``: false of what is an answer itself, or the last one would be waited for.
        """
        if session.spent(now):
            self.counters.drops[DropReason.EXPIRED_KEY] += 1
            return False
        if wants_answer:
            self._expect_answer(session, now)
        datagram = session.seal(parts)
        remote = session.remote
        if type(remote) is Endpoint:
            self._datagrams.append((datagram, remote))
            self.counters.datagrams_sent += 1
        else:
            self._pass_on(self._our_name, session.peer, MAX_HOPS, datagram, now)
        return True

    def _pass_on(
        self, src: PeerName, dst: PeerName, hops_left: int, datagram: bytes, now: float
    ) -> None:
        """Hand a sealed datagram to the next peer on the way to ``dst``, in our session with it."""
        via = self.next_hops.get(dst)
        hop = self._current.get(via) if via is not None else None
        if hop is None or type(hop.remote) is not Endpoint:
            self.counters.drops[DropReason.NO_ROUTE] += 1
            return
        envelope = RELAY_HEADER.pack(src, dst, hops_left) + datagram
        self._send(hop, pack_part(PartType.RELAY, envelope), now)

    def _receive_relayed(self, envelope: bytes, came_from: PeerName, now: float) -> None:
        """A datagram that a neighbour passes on: ours, or to be passed on further."""
        drops = self.counters.drops
        inner = envelope[RELAY_HEADER.size :]
        if len(inner) < HEADER_BYTES or inner[0] != DatagramType.DATA:
            drops[DropReason.MALFORMED_PART] += 1
            return
        src_bytes, dst_bytes, hops_left = RELAY_HEADER.unpack_from(envelope)
        src, dst = PeerName(src_bytes), PeerName(dst_bytes)
        if dst == self._our_name:
            self._receive_data(inner, src, now)
        elif hops_left == 0:
            drops[DropReason.HOP_LIMIT] += 1
        elif not self._relay_buckets.take(came_from, len(inner), now):
            drops[DropReason.RELAY_RATE] += 1
        else:
            self.counters.datagrams_relayed += 1
            self._pass_on(src, dst, hops_left - 1, inner, now)

    def _receive_payload(
        self, session: Session, payload: bytes, source: Remote, now: float
    ) -> None:
        counters = self.counters
        try:
            parts = parse_parts(payload)
        except MalformedError:
            counters.drops[DropReason.MALFORMED_PART] += 1
            return
        has_acted = False
        for part_type, body in parts:
            if part_type in _ACTED_ON:
                if has_acted:
                    counters.drops[DropReason.MALFORMED_PART] += 1
                    continue
                has_acted = True
            if part_type == PartType.FRAME:
                session.was_used = session.frame_came = True
                self._receive_frame(body, session.peer, now)
            elif part_type in (PartType.PROBE, PartType.PROBE_ACK):
                if len(body) != PROBE_BYTES:
                    counters.drops[DropReason.MALFORMED_PART] += 1
                elif part_type == PartType.PROBE:
                    ack = pack_part(PartType.PROBE_ACK, body)
                    self._send(session, ack, now, wants_answer=False)
                    if session.frame_came:
                        session.frame_came = False
                        self.probed.append(session)
                else:
                    self.probe_acks.append((session, int.from_bytes(body, "big")))
            elif part_type in _OF_BROADCASTS:
                if self.broadcast is not None:
                    kind = PartType(part_type)
                    drop = self.broadcast.receive(kind, body, session.peer, now)
                    if drop is not None:
                        counters.drops[drop] += 1
            elif part_type in (PartType.MESSAGE, PartType.MESSAGE_ACK):
                session.was_used = True
                self.messages.append((session.peer, PartType(part_type), body))
            elif part_type == PartType.RELAY:
                if type(source) is Endpoint:
                    self._receive_relayed(body, session.peer, now)
                else:
                    # An envelope within a relayed datagram: nobody needs that but an attacker.
                    counters.drops[DropReason.MALFORMED_PART] += 1
