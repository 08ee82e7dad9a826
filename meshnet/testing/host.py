"""One machine of a cluster, and the driver of the engine that runs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from meshnet.crdt.dots import Origin
from meshnet.engine import Engine
from meshnet.errors import LocalProtocolError, StateError
from meshnet.events import Event
from meshnet.gossip.channels import LatticeT, OpenChannel
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.config import EngineConfig
from meshnet.report import ConnectionReport
from meshnet.testing.accounting import SentOnWire
from meshnet.testing.clock import Timer, TimeStandsStillError
from meshnet.testing.journal import MemoryJournal
from meshnet.testing.state import MemoryState
from meshnet.wire.identity import Identity

if TYPE_CHECKING:
    from meshnet.testing.cluster import Cluster

E = TypeVar("E")
P = ParamSpec("P")

MAX_WAKES_AT_ONCE = 5000
"""An engine whose timer wants to be handled this often at one instant would spin a real driver; to
take in the largest fragment there can be takes half as many slices."""


class Host:
    """One machine. ``private`` addresses it announces too, but they lead others elsewhere.

    What a process does (`send`, `update`, `stop`) raises LocalProtocolError while none runs.
    """

    def __init__(
        self,
        cluster: Cluster,
        nickname: str,
        address: Endpoint,
        *,
        disk: MemoryState,
        private: tuple[Endpoint, ...],
        config: dict[str, Any],
    ) -> None:
        self.cluster = cluster
        self.nickname = nickname
        self.address = address
        self.private = private
        self.disk = disk
        """What the next life finds; change it while the host is down."""
        self.up = False
        self.was_set_back = False
        self.reachable = True
        """Whether the machine answers at all, if only to say that nothing runs there."""
        self.engine: Engine
        self.events: list[Event] = []
        self.frames: list[bytes] = []
        self.lives = 0
        self.sent_on_wire = SentOnWire()
        """What it has cost others to listen to this machine, in all its lives."""
        self._config = config
        self._told: list[tuple[str, int]] = []
        self._alarm: Timer | None = None
        self._waiting: list[Callable[[], None]] | None = None
        """What comes while the process is paused."""
        self._woken_at = 0.0
        self._wakes_at_once = 0
        self.start()

    def __repr__(self) -> str:
        return f"<Host {self.nickname}{'' if self.up else ' (down)'}>"

    @property
    def name(self) -> PeerName:
        return self.engine.name

    @property
    def peers(self) -> set[PeerName]:
        """Those to whom frames flow."""
        return set(self.engine.peers_with_session())

    @property
    def reached(self) -> set[PeerName]:
        """Those to whom frames flow, or would at once."""
        engine = self.engine
        if engine.data_path.on_demand and engine.links.by_peer.keys() <= self.peers:
            return set(engine.routes())
        return self.peers

    @property
    def life(self) -> str:
        """Names this process among all there ever were in the cluster."""
        return f"{self.nickname} ({self.address.host}, life {self.lives})"

    def start(self, **changes: Any) -> None:
        """A new life on the same disk, told of the same peers as the last.

        ``changes`` are of its `EngineConfig`.
        """
        if self.lives:
            self.disk.next_life()
        self.lives += 1
        drawn = self.cluster.rng.stream("host", str(self.address), self.lives)
        config = EngineConfig(
            Identity.of_seed(self.disk.identity_seed),
            self.cluster.psk,
            network=self.cluster.network_name,
            nickname=self.nickname,
            incarnation=self.disk.incarnation,
            generation=self.disk.generation,
            life=int.from_bytes(drawn.stream("life")(8), "big"),
            endpoints=(*self.private, self.address),
            durable=True,
            absent_s={PeerName.parse(name): s for name, s in self.disk.absent_s.items()},
        )
        config = config.replaced(**{**self._config, **changes})
        self.engine = Engine(config, drawn.stream("engine"), self.cluster.now)
        self.up = self.reachable = True
        self.events.clear()
        self.frames.clear()
        self.engine.load(self.disk.journal.records(), self.cluster.now)
        for host, port in self._told:
            self.engine.connect(host, port, self.cluster.now)
        self.drain()

    def crash(self, *, silent: bool = False) -> None:
        """The process dies. Its kernel resets its connections, unless the machine is ``silent``."""
        self.up = False
        self.reachable = not silent
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.cluster.connections.host_died(self, silent=silent)

    def pause_for(self, duration_s: float) -> None:
        """The process stands still, as if stopped or starved of its processor; its kernel goes on.

        What comes meanwhile waits. Timers that are overdue go off before any of it is read: the
        worst of the orders in which event loops wake up.
        """
        if self._waiting is None:
            self._waiting = []
            self.cluster.clock.call_after(duration_s, self._go_on)

    def sleep_for(self, duration_s: float) -> None:
        """The machine is suspended: as `pause_for`, and what comes meanwhile is lost."""
        self.pause_for(duration_s)
        self.reachable = False

    def notice_move(self) -> None:
        """Learn of an address of its own that is another now, and act on it as a node does."""
        self._check_up()

        def learn() -> None:
            if self.up:
                self.cluster.connections.end_vanished(self)
                self.engine.set_endpoints((*self.private, self.address))
                self.engine.path_changed(self.cluster.now)
                self.drain()

        self.when_running(learn)

    def _go_on(self) -> None:
        self.reachable = self.reachable or self.up
        waiting, self._waiting = self._waiting or [], None
        if self.up:
            self._wake()
        for action in waiting:
            action()

    def when_running(self, action: Callable[[], None]) -> None:
        """Do ``action``, which gives the engine something, now or when a pause is over."""
        if self._waiting is None:
            action()
        else:
            self._waiting.append(action)

    def restart(self) -> None:
        """A new life right after the old one."""
        self.crash()
        self.start()

    def lose_disk(self) -> None:
        """Crash and come back as a new peer at the old address: the identity is on the disk."""
        self.crash()
        drawn = self.cluster.rng.stream("disk", str(self.address), self.lives)
        self.disk = MemoryState(drawn(32), int.from_bytes(drawn(8), "big"))
        self.start()

    def set_back(self) -> None:
        """Crash and come back on the first state that the disk ever had, as from a backup."""
        self.crash()
        self.disk.generation = 0
        self.disk.journal = MemoryJournal()
        self.was_set_back = True
        self.start()

    def stop(self) -> None:
        """The process says goodbye and ends. `start` begins its next life."""
        self._check_up()
        for _ in range(2):  # As the driver: what we wrote, then what others did.
            self.engine.save(self.cluster.now)
            self.drain()
        self.engine.stop(self.cluster.now)
        self.drain()
        gone = self.engine.attendance.absences.durations(self.cluster.now)
        self.disk.keep_absent_s({str(peer): gone_s for peer, gone_s in gone.items()})
        self.crash()

    def connect(self, to: Host | Endpoint) -> None:
        """Keep a link to ``to``, in later lives too; while the host is down, only in those."""
        address = to.address if isinstance(to, Host) else to
        self._told.append((address.host, address.port))
        if not self.up:
            return
        self.engine.connect(address.host, address.port, self.cluster.now)
        self.drain()

    def channel(self, name: str, kind: type[LatticeT]) -> OpenChannel[LatticeT]:
        """A channel as this life has it open; its ``value`` is what is read."""
        return self.engine.open_channel(name, kind, self.cluster.now)

    def update(
        self,
        channel: OpenChannel[LatticeT],
        mutator: Callable[Concatenate[LatticeT, Origin, P], LatticeT],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> int:
        """As `Channel.update`: the ticket, kept once ``channel.kept`` has come up to it."""
        self._check_up()
        delta = mutator(channel.value, self.engine.channels.origin, *args, **kwargs)
        ticket = self.engine.update(channel, delta, self.cluster.now)
        self.drain()
        return ticket

    def send(self, *frames: bytes) -> None:
        """The local side sends frames."""
        self._check_up()

        def read() -> None:
            if self.up:
                self.engine.receive_frames(frames, self.cluster.now)
                self.drain()

        self.when_running(read)

    def receive_datagram(self, data: bytes, source: Endpoint) -> None:
        """Anybody's datagram arrives."""
        self._check_up()

        def read() -> None:
            if self.up:
                self.engine.receive_datagrams([(data, source)], self.cluster.now)
                self.drain()

        self.when_running(read)

    def runs(self, engine: Engine) -> bool:
        """Whether that life goes on."""
        return self.up and self.engine is engine

    def events_of(self, kind: type[E]) -> list[E]:
        """What happened in this life, of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def connection(self, address: Host | Endpoint) -> ConnectionReport:
        """The one row of the report for an address."""
        at = str(address.address if isinstance(address, Host) else address)
        [row] = [row for row in self.engine.reports.connections() if row["address"] == at]
        return row

    def drain(self) -> None:
        """Carry out all that the engine wants, as the node's driver does; then wait."""
        engine, cluster = self.engine, self.cluster
        for output in engine.links_to_send():
            cluster.connections.write(self, output)
        for dial in engine.dials_to_make():
            cluster.connections.dial(self, dial)
        for data, to in engine.datagrams_to_send():
            cluster.carry_datagram(self, data, to)
        self.frames.extend(engine.frames_to_deliver())
        while records := engine.records_to_write():
            self._write(records)
        while (event := engine.next_event()) is not None:
            self.events.append(event)
            cluster.watch.event_seen(self.nickname, event)
        self._set_alarm()

    def _check_up(self) -> None:
        """What has died says nothing more. Raises LocalProtocolError."""
        if not self.up:
            raise LocalProtocolError(f"{self.nickname} is down: start it first")

    def _write(self, records: list[bytes]) -> None:
        try:
            self.disk.journal.append(records)
        except StateError as error:
            self.engine.records_refused(str(error), self.cluster.now)
        else:
            self.engine.records_written(self.cluster.now)

    def _set_alarm(self) -> None:
        """Wake at the engine's deadline. One that has moved on is seen when the alarm goes off."""
        deadline = self.engine.next_deadline()
        if deadline is None or not self.up:
            return
        if self._alarm is not None:
            if self._alarm.at <= deadline:
                return
            self._alarm.cancel()
        self._alarm = self.cluster.clock.call_at(deadline, self._wake)

    def _wake(self) -> None:
        if self._waiting is not None:
            return  # `_go_on` does it.
        self._alarm = None
        now = self.cluster.now
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline <= now:
            self._wakes_at_once = self._wakes_at_once + 1 if now == self._woken_at else 0
            self._woken_at = now
            if self._wakes_at_once > MAX_WAKES_AT_ONCE:
                raise TimeStandsStillError(
                    f"time stands still: {self.nickname} wants its timer handled again and again"
                )
            self.engine.handle_timer(now)
            self.drain()
        else:
            self._set_alarm()
