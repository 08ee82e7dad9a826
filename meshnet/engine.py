"""One peer's control plane, joined from the pure parts: the `Engine`.

The contract, for whoever drives it (`meshnet.aio` for real, tests under virtual time):

1. Give it one input: `link_opened`, `receive_link_bytes`, `link_ended`, `dial_failed`,
   `link_writable`, `receive_datagrams`, `receive_frames`, `records_written`, `records_refused`,
   `handle_timer`, or a user's call. All take ``now``.
2. Drain it: `links_to_send`, `dials_to_make`, `datagrams_to_send`, `frames_to_deliver`,
   `records_to_write` and `next_event`, each until it gives nothing.
3. Wait for the next input, or until `next_deadline`, then `handle_timer`.

The engine owns no socket, clock or random source: the same inputs with the same ``rng`` give the
same bytes. No input from outside raises; what concerns a link that has ended, or never was, is
ignored.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from meshnet.crdt.dots import Origin
from meshnet.discovery.neighbours import Neighbours
from meshnet.discovery.targets import Targets, Trouble
from meshnet.errors import (
    AuthenticationError,
    CloseCode,
    ConfigError,
    DropReason,
)
from meshnet.events import (
    ContentIgnored,
    DialFailed,
    Event,
    IdentityConflict,
    MtuDiffered,
    PeerDiscovered,
    PeerRemoved,
)
from meshnet.gossip.channels import BadEntry, Channels, LatticeT, OpenChannel
from meshnet.gossip.events import (
    Changed,
    Contradicted,
    Ignored,
    Malformed,
    Removed,
    WrittenElsewhere,
)
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fragments import SEQUENCES_PER_START
from meshnet.ids import Endpoint, PeerName, network_id
from meshnet.peering.absences import Absences
from meshnet.peering.attendance import Attendance
from meshnet.peering.broadcast import Broadcast
from meshnet.peering.config import EngineConfig
from meshnet.peering.cross_checks import CrossChecks
from meshnet.peering.data_path import Counters, Datagram, DataPath
from meshnet.peering.link_costs import LinkCosts
from meshnet.peering.linking import LinkKeeper
from meshnet.peering.links import Link, LinkId, LinkOutput
from meshnet.peering.members import Members
from meshnet.peering.own_state import OwnState
from meshnet.peering.reports import Reporter
from meshnet.peering.routing import Router
from meshnet.peering.sessions import SessionKeeper
from meshnet.peering.thinning import LinkThinning
from meshnet.peering.trusted import Subnet, TrustedSubnets
from meshnet.peering.unicast import Unicast
from meshnet.ports import Rng
from meshnet.switch.switch import SWEEP_INTERVAL_S, Switch
from meshnet.timers import Timers
from meshnet.topology.records import (
    MAX_RECORD_ENTRIES,
    TOPOLOGY,
    Description,
    PeerRecord,
    link_key,
    read_record,
)
from meshnet.topology.routes import Route
from meshnet.values import Value
from meshnet.wire.crypto import x25519_public_of
from meshnet.wire.cursor import MalformedError
from meshnet.wire.link import (
    LinkConfig,
)
from meshnet.wire.messages import (
    GOSSIP_MESSAGES,
    MessageType,
)

# Routes follow what is told of links this much later: one computation for many changes at once.
ROUTES_DELAY_S = 0.02
# What others have changed is written down this often, so that a mesh that loses power as a whole
# still knows what its lost peers had said.
KEEP_INTERVAL_S = 30.0
# A life has as many numbers of handshakes as of fragments to itself, 2^24 lives fit 64 bits: so the
# state on disk is written once a start and the numbers still rise for ever.
STAMPS_PER_GENERATION = SEQUENCES_PER_START


class _Task(enum.Enum):
    SWEEP = 1
    ROUTES = 2
    KEEP = 3


class Dial(Value):
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
        first_number = config.generation * STAMPS_PER_GENERATION
        self.gossip = Gossip(
            config.identity,
            self._network_id,
            incarnation=config.incarnation,
            first_sequence=first_number,
            told_by_writer=self._told_by_writer,
            is_alive=self._is_alive,
            made_anew=(TOPOLOGY,),
        )
        # Dots begin anew with each start: no disk that was cloned or set back repeats one.
        origin = Origin(self.name, config.life)
        self._records: dict[PeerName, PeerRecord] = {}
        members = Members(self._records)
        self._link_costs = LinkCosts()
        self.channels = Channels(self.gossip, origin, durable=config.durable)
        self._sessions = SessionKeeper(
            config.identity,
            self._network_id,
            psks,
            ciphers=config.ciphers,
            capabilities=config.capabilities,
            first_stamp=first_number,
            data_path=self.data_path,
            members=members,
            link_costs=self._link_costs,
            rng=rng,
            key_life=config.key_life,
        )
        self.set_trusted_subnets(config.trusted_subnets, now)
        self.unicast = Unicast(self.name, config.life, self.data_path)
        self._targets = Targets(self.name, rng)
        degree = min(config.degree, config.conn_limit)
        self._neighbours = Neighbours(self.name, self._network_id, degree, self._targets)
        self._broadcast = self.data_path.broadcast = Broadcast(
            config.identity,
            self._network_id,
            config.life,
            config.ciphers[0],
            records=self._records,
            carrier=self.data_path,
            rng=rng,
            key_life=config.key_life,
        )
        link_config = LinkConfig(
            config.identity,
            self._network_id,
            psks,
            config.life,
            config.capabilities,
            config.key_life,
        )
        self.links = LinkKeeper(
            link_config, self, self._targets, self.counters, limit=config.conn_limit, rng=rng
        )
        self._linked = self.data_path.neighbours = self.links.by_peer
        self._cross_checks = CrossChecks(self.links, self._sessions, self._link_costs)
        self._thinning = LinkThinning(self.name, self.links, self._neighbours, self._records)
        absences = Absences(config.peer_lease_s, config.absent_s, rng)
        self.attendance = Attendance(self.name, self._records, self._linked, self.gossip, absences)
        self._dials: list[Dial] = []
        self._timers: Timers[_Task] = Timers()
        self._events: deque[Event] = deque()
        self._router = Router(
            self.name,
            self._records,
            self.links,
            self._link_costs,
            self._sessions,
            self.data_path,
            self._neighbours,
            members,
        )
        self._broadcast.tree_children = self._router.tree_children
        self._reporter = Reporter(
            self.name,
            config.overlay_mtu,
            self._records,
            self._linked,
            self._sessions,
            self._targets,
            self.gossip.replica,
            self._router,
            absences,
        )
        self._loading = False
        self._stopping = False
        self._now = now
        description = Description(
            config.nickname,
            config.overlay_mtu,
            config.capabilities,
            config.life,
            config.endpoints,
        )
        self.own_state = OwnState(
            self.name,
            config.identity.public_key,
            description,
            self._linked,
            self._link_costs,
            self._records,
            self.gossip,
            self.channels,
        )
        self._timers.set(_Task.SWEEP, now + SWEEP_INTERVAL_S)
        self._timers.set(_Task.KEEP, now + KEEP_INTERVAL_S)

    # Inputs: users.

    def load(self, records: Iterable[bytes], now: float) -> None:
        """Take up what the journal has kept; before anything else. Raises StateError."""
        self.channels.load(records, self._network_id)
        self._loading = True
        self._follow_gossip(now)
        self._loading = False

    def connect(self, host: str, port: int, now: float) -> None:
        """Keep a link to whoever answers at this address."""
        self._targets.add_configured(host, port, now)
        self._dial_due(now)

    def forget(self, host: str, port: int, now: float) -> bool:
        """Undo `connect`: a link that nothing else asks for ends. False: nobody gave this address.

        The other end is not told why, as nothing is wrong with it.
        """
        target = self._targets.configured_at(host, port)
        if target is None:
            return False
        self._targets.forget(target)
        if target.peer is None or not self._targets.of_peer(target.peer):
            self.links.forget(target, now)
        return True

    def set_psks(self, psks: tuple[bytes, ...]) -> None:
        """Offer the first and accept all of them from now on.

        What stands goes on; its keys are renewed with what is accepted then, or not at all.
        """
        self.links.use_psks(psks)
        self._sessions.use_psks(psks)

    def set_trusted_subnets(self, subnets: Iterable[Subnet], now: float) -> None:
        """Exchange frames in clear with peers within these, where they agree; seal all others."""
        self._sessions.use_trusted(TrustedSubnets(subnets), now)

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Announce other addresses of ours from now on."""
        self.own_state.set_endpoints(tuple(endpoints))

    def open_channel(self, name: str, kind: type[LatticeT], now: float) -> OpenChannel[LatticeT]:
        """The channel of that name and type. Raises ConfigError for a name that cannot be one."""
        if name == TOPOLOGY.name:
            raise ConfigError(f"channel {name!r} is the mesh's own")
        self._now = now
        opened = self.channels.open(name, kind)
        if self.channels.can_flush:
            self.own_state.flush_soon(now)
        return opened

    def update(self, channel: OpenChannel[LatticeT], delta: LatticeT, now: float) -> int:
        """Join ``delta`` into a channel: a ticket, which `UpdatesKept` acknowledges."""
        ticket = self.channels.update(channel, delta)
        self.own_state.flush_soon(now)
        return ticket

    def set_own_addresses(
        self,
        mac: bytes,
        addresses: Sequence[IPv4Address | IPv6Address],
        *,
        router: bool,
        now: float,
    ) -> None:
        """This host's overlay addresses, all at ``mac``: announced to neighbours from now on."""
        self.data_path.set_own_addresses(mac, addresses, router=router, now=now)

    def ping(self, peer: PeerName, now: float) -> int | None:
        """Probe ``peer``'s data session; a `ProbeAnswered` with the returned id follows, or never.

        None when there is no session, and none on demand.
        """
        return self._sessions.ping(peer, now)

    def remove_peer(self, peer: PeerName, now: float, *, data: bool = False) -> int:
        """Have the whole mesh forget a peer that is gone: how many entries were let go.

        Its record goes, with ``data`` what it has written in users' channels, too. 0: there was
        nothing. Raises LocalProtocolError for who is not gone.
        """
        self._now = now
        entries = self.attendance.remove(peer, data=data, now=now)
        self._follow_gossip(now)
        return entries

    def leave(self, now: float) -> None:
        """As `stop`, for good: nobody shall remember us as a peer that is gone."""
        self._stopping = True
        self.own_state.stop()
        self.gossip.remove(TOPOLOGY, self.name, now)
        self.stop(now)

    def save(self, now: float) -> None:
        """Have all written down that is not yet; before `stop`."""
        self._now = now
        if self.channels.can_flush:
            self.channels.flush()
        else:
            self.channels.keep_others()

    def stop(self, now: float) -> None:
        """Say goodbye on every link; drain and send, then the engine is done."""
        self._stopping = True
        self.own_state.stop()
        self._send_gossip()
        self.links.close_all(CloseCode.SHUTDOWN, "we are shutting down", now)

    # Inputs: the driver.

    def link_opened(
        self, link_id: LinkId, remote: Endpoint, target_id: int | None, now: float
    ) -> None:
        """A TCP connection stands: dialled for ``target_id``, or accepted when that is None."""
        self.links.opened(link_id, remote, target_id, now)

    def receive_link_bytes(self, link_id: LinkId, data: bytes, now: float) -> None:
        """Bytes of a link, in any cut. Bytes of a link already ended are ignored."""
        self._now = now
        self.links.receive(link_id, data, now)

    def records_written(self, now: float) -> None:
        """What `records_to_write` gave last is durable."""
        self._now = now
        self.channels.written()
        self._follow_gossip(now)
        self.channels.flush()

    def records_refused(self, reason: str, now: float) -> None:
        """What `records_to_write` gave last could not be written, and is not there."""
        self._now = now
        self.channels.not_written(reason)
        self.channels.flush()

    def link_writable(self, link_id: LinkId, writable: bool, now: float) -> None:
        """Whether the connection takes more bytes without our keeping them in memory."""
        self._now = now
        if (peer := self.links.peer_of(link_id)) is not None:
            self.gossip.set_writable(peer, writable)

    def link_ended(self, link_id: LinkId, reason: str, now: float) -> None:
        """The connection is gone, whoever ended it; nothing happens if we did."""
        self.links.ended(link_id, reason, now)

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
            drop = self._sessions.receive_datagram(datagram, source, now)
            if drop is not None:
                self.counters.drops[drop] += 1
        if self.data_path.has_news:
            self._sessions.drain_data_path(now)
            self._take_up_findings(now)
        if self.data_path.paths_changed:
            self._follow_routes(now)
        if self.data_path.messages:
            self._receive_messages(now)

    def path_changed(self, now: float) -> None:
        """Our way to everybody may be another: an address or a route has changed, or we slept.

        All neighbours are asked for a sign of life, which shows them where we are now; links that
        do not answer end, and who is not linked is dialled.
        """
        if self._stopping:
            return
        self._now = now
        self._cross_checks.path_changed(now)
        self._targets.retry_waiting(now)
        self._dial_due(now)

    def _take_up_findings(self, now: float) -> None:
        if self._cross_checks.take_up(now):
            self._costs_changed(now)

    def _receive_messages(self, now: float) -> None:
        messages, self.data_path.messages = self.data_path.messages, []
        for peer, kind, body in messages:
            drop = self.unicast.receive(peer, kind, body, now)
            if drop is not None:
                self.counters.drops[drop] += 1

    def receive_frames(self, frames: Iterable[bytes], now: float) -> None:
        """A burst from the local side."""
        self.data_path.receive_frames(frames, now)
        if self.data_path.wanted:
            self._sessions.set_up_wanted(now)

    def handle_timer(self, now: float) -> None:
        self._now = now
        if self._cross_checks.were_held_up(now):
            self.path_changed(now)
        self.links.handle_timer(now)
        routes_due = self._router.next_deadline(now) is not None
        for task in self._timers.pop_due(now):
            if task is _Task.SWEEP:
                self.data_path.switch.sweep(now)
                self._timers.set(_Task.SWEEP, now + SWEEP_INTERVAL_S)
            elif task is _Task.KEEP:
                self.channels.keep_others_soon()
                self._router.forget_unasked()
                self.attendance.end_leases(now)
                self._timers.set(_Task.KEEP, now + KEEP_INTERVAL_S)
            else:
                routes_due = True
        self.own_state.handle_timer(now)
        self.gossip.handle_timer(now)
        self.channels.work(now)
        self._follow_gossip(now)
        self._sessions.handle_timer(now)
        self._take_up_findings(now)
        if self.data_path.paths_changed or routes_due:
            self._follow_routes(now)
        self.data_path.handle_timer(now)
        self._broadcast.handle_timer(now)
        self.unicast.handle_timer(now)
        self._neighbours.handle_timer(now)
        if self.data_path.on_demand != self._neighbours.is_crowded:
            self._follow_routes(now)  # The mesh has been small for long enough.
        self._thinning.handle_timer(now)
        self._dial_due(now)

    # Outputs.

    def records_to_write(self) -> list[bytes]:
        """Records to append to the journal; answer with `records_written` or `records_refused`."""
        return self.channels.records_to_write()

    def links_to_send(self) -> list[LinkOutput]:
        """Bytes to write, in order; an output with ``close`` is the last of its link."""
        for datagram, peer in self._sessions.relayed_to_send():
            self._router.send(datagram, peer)
        self._send_gossip()
        return self.links.links_to_send()

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
        if self._events:
            return self._events.popleft()
        parts = (self.own_state, self.links, self._sessions, self.data_path, self.unicast)
        for part in parts:
            if (event := part.next_event()) is not None:
                return event
        change = self.channels.next_event()
        if isinstance(change, BadEntry):
            self.counters.drops[DropReason.BAD_ENTRY] += 1
            return ContentIgnored(change.writer, DropReason.BAD_ENTRY, change.text)
        return change

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called; None: not before another input."""
        deadlines = (
            self._timers.next_deadline(),
            self.own_state.next_deadline(),
            self.gossip.next_deadline(),
            self.links.next_deadline(),
            self._sessions.next_deadline(),
            self.data_path.next_deadline(),
            self._broadcast.next_deadline(),
            self.unicast.next_deadline(),
            self._neighbours.next_deadline(),
            self._thinning.next_deadline(),
            self._targets.next_deadline() if not self._stopping else None,
            self._now if self.gossip.has_more_to_send else None,
            self.channels.next_work_at(self._now),
            self._router.next_deadline(self._now) if not self._stopping else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Views.

    def peers_with_session(self) -> list[PeerName]:
        """The peers with which we have a data session."""
        return [pair.peer for pair in self._sessions if pair.current is not None]

    def reachable_peers(self) -> list[PeerName]:
        """The peers that frames reach: by a session that there is, or that they have set up."""
        with_session = self.peers_with_session()
        if not self.data_path.on_demand:
            return with_session
        return list(dict.fromkeys([*with_session, *self._router.routes]))

    def underlay_hosts(self) -> set[str]:
        """The hosts that links and datagrams go to now."""
        at = [link.remote for link in self.links]
        at += [s.remote for p in self._sessions for s in p.sessions if type(s.remote) is Endpoint]
        return {endpoint.host for endpoint in at}

    def routes(self) -> Mapping[PeerName, Route]:
        """The way to every peer that can be reached."""
        return self._router.routes

    def find_peers(self, text: str, *, gone: bool = False) -> list[PeerName]:
        """Other peers by name, by a front part of it (8 digits or more), or by nickname.

        Of several only those that frames reach, if there are any; with ``gone`` only those that
        are.
        """
        others = [record for name, record in self._records.items() if name != self.name]
        found = [record.name for record in others if record.nickname == text]
        if not found and len(text) >= 8:
            found = [record.name for record in others if str(record.name).startswith(text)]
        if gone:
            return [name for name in found if self.attendance.absences.get(name)] or found
        return [name for name in self.reachable_peers() if name in found] or found

    @property
    def reports(self) -> Reporter:
        """What `meshnet report` shows of all this."""
        return self._reporter

    # What the keeper of links tells.

    def link_up(self, link: Link, *, first: bool, now: float) -> None:
        assert link.authenticated is not None, "only authenticated links are told of"
        self.attendance.links_changed()
        who = link.authenticated
        if not first:
            self.gossip.neighbour_down(who.peer)
        self.own_state.link_up()
        self.gossip.neighbour_up(who.peer, is_reached=self._neighbours.reaches(who.peer))
        self._sessions.peer_reachable(
            who.peer,
            x25519_public_of(who.public_key),
            who.life,
            direct=self._addresses_of(link),
            relay=False,
            lead=link.outbound,
            now=now,
        )
        if first:
            self._router.link_changed(who.peer)
            self.own_state.link_won(now)
            self._links_changed(now)

    def link_down(self, peer: PeerName, reason: str, *, goodbye: bool, now: float) -> None:
        self.attendance.links_changed()
        self.gossip.neighbour_down(peer)
        self._link_costs.forget(peer)
        if goodbye or self._stopping:
            self._sessions.peer_unreachable(peer, gone=True, reason=reason, now=now)
        if not self._stopping:
            self._router.link_changed(peer)
            self.own_state.link_lost(now)
            self._links_changed(now)
            # At once, since what went that way is lost until then.
            self._follow_routes(now)

    def link_idles(self, peer: PeerName, now: float) -> None:
        self.gossip.compare_with(peer)
        self._cross_checks.link_idles(peer, now)

    def link_to_give_up(self, newcomer: PeerName) -> PeerName | None:
        return self._thinning.link_to_give_up(newcomer)

    def link_ponged(self, peer: PeerName, rtt_s: float, now: float) -> None:
        if self._cross_checks.link_ponged(peer, rtt_s, now):
            self._costs_changed(now)

    def message_received(self, link: Link, kind: MessageType, body: bytes, now: float) -> None:
        assert link.peer is not None, "who is not authenticated cannot send messages"
        if kind is MessageType.RELAYED:
            self._router.receive(link.peer, body, now)
        elif kind is MessageType.UNNEEDED:
            self._thinning.asked(link.peer, now)
        elif kind in GOSSIP_MESSAGES:
            self.gossip.receive(link.peer, kind, body, now)
            self._follow_gossip(now)

    # Replicated state, and what follows from it.

    def _send_gossip(self) -> None:
        for peer, kind, body in self.gossip.messages_to_send():
            self.links.send(peer, kind, body)
        # What was looked through on the way may have been all that a fragment lacked.
        self._follow_gossip(self._now)

    def _follow_gossip(self, now: float) -> None:
        """Act on what has changed in the replicated state."""
        while (event := self.gossip.next_event()) is not None:
            if isinstance(event, Changed):
                self.channels.follow(event)
                if event.channel == TOPOLOGY and event.writer != self.name:
                    self._record_changed(event.writer, now)
            elif isinstance(event, Removed):
                self._follow_removal(event, now)
            elif isinstance(event, Ignored):
                self._ignore(event.carrier, event.reason, event.text)
            elif isinstance(event, Malformed):
                if (link := self._linked.get(event.carrier)) is not None:
                    self.links.close(link, CloseCode.PROTOCOL_ERROR, event.text, now)
            elif isinstance(event, Contradicted):
                self._events.append(IdentityConflict(event.writer))
            elif isinstance(event, WrittenElsewhere):
                self.own_state.written_elsewhere(event, now)

    def _follow_removal(self, event: Removed, now: float) -> None:
        if event.writer == self.name:
            return  # We take leave: what we know of ourselves goes with us.
        self.channels.follow_removal(event)
        record = self._records.get(event.writer)
        nickname = record.nickname if record is not None else ""
        self._events.append(PeerRemoved(event.writer, nickname, event.channel, event.by))
        if event.channel == TOPOLOGY:
            self._forget_record(event.writer, now)

    def _record_changed(self, writer: PeerName, now: float) -> None:
        """What a peer says of itself, or whom it is linked to, is another now."""
        known = self._records.get(writer)
        fragment = self.gossip.replica.get(TOPOLOGY, writer)
        assert fragment is not None, "it has just changed"
        public_key = fragment.head.public_key
        try:
            x25519_public_of(public_key)  # Else no session could ever be set up with it.
            if len(fragment.tree) > MAX_RECORD_ENTRIES:
                raise MalformedError(f"{len(fragment.tree)} entries")
            record = read_record(writer, public_key, dict(fragment.tree))
        except (MalformedError, AuthenticationError) as error:
            self._ignore(writer, DropReason.BAD_ENTRY, f"peer record: {error}")
            self._forget_record(writer, now)
            return
        self._records[writer] = record
        if known is None or known.links != record.links:
            self.attendance.links_changed()
        if known is None:
            self._events.append(PeerDiscovered(writer, record.nickname, self._loading))
        ours, theirs = self.config.overlay_mtu, record.overlay_mtu
        if theirs != ours and (known is None or known.overlay_mtu != theirs):
            self._events.append(MtuDiffered(writer, ours, theirs))
        if self.config.discovery:
            standing = self._neighbours.standing_when_heard_of(writer, now)
            self._targets.set_discovered(writer, record.endpoints, now, standing=standing)
        linked = self._linked.get(writer)
        direct = self._addresses_of(linked) if linked is not None else record.endpoints
        self._sessions.set_direct(writer, direct, now)
        if not record.links and linked is None:
            reason = CloseCode.SHUTDOWN.text
            self._sessions.peer_unreachable(writer, gone=True, reason=reason, now=now)
        if known is not None:
            lost = known.links - record.links
            # Somebody has lost it: is it we who are next to know, or nobody?
            for peer in sorted(lost & self._linked.keys()):
                self._sessions.doubt(peer, now)
            if self.name in lost:
                # It says so by other ways. If it does not need the link it will not dial again
                # either, so that nothing else would show us soon that it is gone.
                self.links.suspect(writer, now)
        if known != record:
            self._router.record_changed(writer)
            self._timers.set_if_unset(_Task.ROUTES, now + ROUTES_DELAY_S)

    def _forget_record(self, writer: PeerName, now: float) -> None:
        """What it says of itself now does not count, so it says nothing."""
        if self._records.pop(writer, None) is not None:
            self.attendance.links_changed()
            self._targets.set_discovered(writer, (), now)
            self._router.record_changed(writer)
            self._timers.set_if_unset(_Task.ROUTES, now + ROUTES_DELAY_S)

    def _ignore(self, source: PeerName, reason: DropReason, text: str) -> None:
        self.counters.drops[reason] += 1
        self._events.append(ContentIgnored(source, reason, text))

    def _told_by_writer(self, writer: PeerName, peer: PeerName) -> bool:
        # By its newest fragment, which `_records` may be about to follow: with a link that it has
        # lost it has lost the way to tell so, too.
        fragment = self.gossip.replica.get(TOPOLOGY, writer)
        return fragment is not None and fragment.tree.get(link_key(peer)) is not None

    # Routes, and who is where.

    def _follow_routes(self, now: float) -> None:
        self._router.follow(now)
        if self._router.next_deadline(now) is None:
            self.attendance.follow(self._router.routes.keys(), now)

    def _is_alive(self, peer: PeerName) -> bool:
        return self.attendance.is_alive(peer)

    def _links_changed(self, now: float) -> None:
        self._thinning.links_changed(now)
        self._timers.set_if_unset(_Task.ROUTES, now + ROUTES_DELAY_S)

    def _costs_changed(self, now: float) -> None:
        self.own_state.costs_changed(now)
        self._timers.set_if_unset(_Task.ROUTES, now + ROUTES_DELAY_S)

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
        if self._stopping:
            return
        for target in self._targets.due(now):
            if self.links.is_full and self._thinning.link_to_give_up(target.peer) is None:
                reason = f"not dialled: {self.config.conn_limit} links are the limit (--conn-limit)"
                self._targets.failed(
                    target.id, reason, now, refused=False, trouble=Trouble.CONN_LIMIT
                )
            else:
                address = target.dialled or target.address
                self._dials.append(Dial(target.id, *address, turn=target.dials - 1))
