"""Whole engines in one process, under virtual time.

A `Cluster` is a clock and a network; a `Host` is one machine on it, on which one `Engine` after
the other runs: the class that a node runs, with its codecs, ciphers and signatures. The driver is
the contract of `meshnet.engine` and nothing more: one input, drain, wait. Everything that is drawn
comes from one seed, and every failure prints what replays it.

    cluster = Cluster(seed=1)
    a, b = cluster.add("a"), cluster.add("b")
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=2)
    a.send(frame)
    cluster.run_for(0.1)
    assert b.frames == [frame]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import define, evolve, field

from meshnet.engine import Dial, Engine, EngineConfig
from meshnet.events import Event
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.links import LinkId, LinkOutput
from meshnet.report import ConnectionReport
from meshnet.testing.clock import Clock, Timer, TimeStandsStillError
from meshnet.testing.emulator import (
    Conditions,
    Fate,
    Network,
    Stream,
    StreamEnd,
    Transport,
    Way,
)
from meshnet.testing.rng import SeededRng
from meshnet.testing.state import MemoryState
from meshnet.testing.trace import Packet, Trace
from meshnet.testing.watch import Watch
from meshnet.wire.identity import Identity

E = TypeVar("E")

NETWORK = "test"
PSK = b"\x07" * 32

MAX_WAKES_AT_ONCE = 1000
"""An engine whose timer wants to be handled this often at one instant would spin a real driver."""

# As the node's driver gives up, and as Linux sends a SYN again meanwhile.
DIAL_TIMEOUT_S = 3.0
SYN_RETRANSMISSION_S = 1.0

PORT = 6783


@define(eq=False)
class _End:
    """One end of a TCP connection. ``engine`` is the life of the host that holds it."""

    host: Host
    engine: Engine
    link: LinkId
    out: Stream
    """What this end says."""
    remote: Endpoint
    other: _End | None = None
    open: bool = True
    delivery: Timer | None = None
    """When something of ``out`` arrives next."""


class Host:
    """One machine. ``private`` addresses it announces too, but they lead others elsewhere."""

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
        self.reachable = True
        """Whether the machine answers at all, if only to say that nothing runs there."""
        self.engine: Engine
        self.events: list[Event] = []
        self.frames: list[bytes] = []
        self.lives = 0
        self._config = config
        self._told: list[tuple[str, int]] = []
        self._alarm: Timer | None = None
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
        )
        config = evolve(config, **{**self._config, **changes})
        self.engine = Engine(config, drawn.stream("engine"), self.cluster.now)
        self.up = self.reachable = True
        self.events.clear()
        self.frames.clear()
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
        self.cluster.host_died(self, silent=silent)

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

    def stop(self) -> None:
        """The process says goodbye and ends. `start` begins its next life."""
        self.engine.stop(self.cluster.now)
        self.drain()
        self.crash()

    def connect(self, to: Host | Endpoint) -> None:
        """Keep a link to ``to``, in later lives too."""
        address = to.address if isinstance(to, Host) else to
        self._told.append((address.host, address.port))
        self.engine.connect(address.host, address.port, self.cluster.now)
        self.drain()

    def send(self, *frames: bytes) -> None:
        """The local side sends frames."""
        self.engine.receive_frames(frames, self.cluster.now)
        self.drain()

    def receive_datagram(self, data: bytes, source: Endpoint) -> None:
        """Anybody's datagram arrives."""
        self.engine.receive_datagrams([(data, source)], self.cluster.now)
        self.drain()

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
            cluster.carry_bytes(self, output)
        for dial in engine.dials_to_make():
            cluster.carry_dial(self, dial)
        for data, to in engine.datagrams_to_send():
            cluster.carry_datagram(self, data, to)
        self.frames.extend(engine.frames_to_deliver())
        while (event := engine.next_event()) is not None:
            self.events.append(event)
            cluster.watch.event_seen(self.nickname, event)
        self._set_alarm()

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


@define(eq=False, slots=False)
class Cluster:
    """The network, and the clock.

    ``delay_s``, ``jitter_s`` and ``loss`` are those of every way at first; `impair` changes these
    and all other `Conditions` at any time. ``keep_packets`` bounds what the trace holds (None: not
    at all). ``replay`` is the line that a failure prints; in pytest it names the test by itself.
    """

    seed: int = 1
    delay_s: float = 0.001
    jitter_s: float = 0.0
    loss: float = 0.0
    keep_packets: int | None = None
    replay: str = ""
    network_name: str = NETWORK
    psk: bytes = field(default=PSK, repr=False)
    hosts: list[Host] = field(factory=list, init=False)
    datagram_filter: Callable[[Endpoint, Endpoint, bytes], bool] = lambda _source, _to, _data: True
    """Asked of each datagram whether it passes; what tests put here holds packets in its hand."""

    def __attrs_post_init__(self) -> None:
        conditions = Conditions(delay_s=self.delay_s, jitter_s=self.jitter_s, loss=self.loss)
        self.clock = Clock()
        self.rng = SeededRng(self.seed)
        self.network = Network(self.rng.stream("network"), conditions)
        self.trace = Trace(self.keep_packets)
        self.watch = Watch()
        self._at: dict[Endpoint, Host] = {}
        self._ends: dict[LinkId, _End] = {}
        self._next_link = 1

    @property
    def now(self) -> float:
        return self.clock.now

    def add(self, nickname: str, *, private: tuple[Endpoint, ...] = (), **config: Any) -> Host:
        """A further machine with a running engine; ``config`` changes its `EngineConfig`.

        Equal nicknames have equal identities.
        """
        number = len(self.hosts) + 1
        address = Endpoint(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", PORT)
        disk = MemoryState(self.rng.stream("identity", nickname)(32))
        host = Host(self, nickname, address, disk=disk, private=private, config=config)
        self.hosts.append(host)
        self._at[address] = host
        return host

    def add_many(self, count: int) -> list[Host]:
        """``count`` further machines; they know nobody yet."""
        first = len(self.hosts) + 1
        return [self.add(f"host{number}") for number in range(first, first + count)]

    # Time.

    def run_for(self, duration_s: float) -> None:
        """Let time pass."""
        with self._explained():
            self.clock.run_for(duration_s)

    def run_until(
        self, condition: Callable[[], bool], *, within_s: float, every_s: float = 0.0
    ) -> float:
        """Seconds until ``condition`` holds. Raises AssertionError if not ``within_s``.

        It is asked after everything that happens or, with ``every_s``, only that often.
        """
        start, limit = self.now, self.now + within_s
        with self._explained():
            while not condition():
                if every_s and self.now < limit:
                    self.clock.run_for(min(every_s, limit - self.now))
                elif every_s or not self.clock.step(limit):
                    raise AssertionError(f"not within {within_s} s")
        return self.now - start

    def meshed(self) -> bool:
        """Every host that is up has a data session with every other, and with nobody else."""
        up = {host.name for host in self.hosts if host.up}
        return all(host.peers == up - {host.name} for host in self.hosts if host.up)

    # Faults.

    def impair(
        self,
        one: Host | None = None,
        other: Host | None = None,
        *,
        one_way: bool = False,
        **changes: Any,
    ) -> None:
        """Change `Conditions`: of the ways between two hosts, or everywhere when none is named.

        ``one_way``: only of the way from ``one`` to ``other``. What is changed for a pair stays so
        when it is changed everywhere.
        """
        if one is None or other is None:
            self.network.impair_all(**changes)
            return
        for source, to in self._ways(one, other, one_way):
            self.network.impair(source, to, **changes)

    def restore(self, one: Host | None = None, other: Host | None = None) -> None:
        """Undo what `impair` did: between two hosts, or everywhere when none is named."""
        if one is None or other is None:
            self.network.restore_all()
            return
        for source, to in self._ways(one, other, False):
            self.network.restore(source, to)

    def cut(
        self, one: Host, other: Host, *, one_way: bool = False, only: Transport | None = None
    ) -> None:
        """Nothing passes between the two (``one_way``: from one to other), and nobody is told.

        ``only``: a firewall that stops just UDP, or just TCP.
        """
        for source, to in self._ways(one, other, one_way):
            self.network.cut(source, to, only=only)

    def partition(self, side: Collection[Host]) -> None:
        """Nothing passes between ``side`` and all others."""
        for one in side:
            for other in self.hosts:
                if other not in side:
                    self.cut(one, other)

    def mend(self, one: Host | None = None, other: Host | None = None) -> None:
        """Undo cuts and partitions: between two hosts, or all."""
        if one is None or other is None:
            self.network.mend_all()
            return
        for source, to in self._ways(one, other, False):
            self.network.mend(source, to)

    def reset(self, one: Host, other: Host) -> None:
        """Every connection between the two breaks, as a firewall's RST does it, at both ends."""
        for end in list(self._ends.values()):
            if end.host is one and end.other is not None and end.other.host is other:
                for broken in (end, end.other):
                    self._end(broken, StreamEnd.RESET.value)

    def end_of_faults(self) -> None:
        """No cut, no changed condition; who is down stays down."""
        self.network.clear()

    # For hosts.

    def carry_dial(self, host: Host, dial: Dial) -> None:
        to, engine = Endpoint(dial.host, dial.port), host.engine
        target = self._find(host, to)
        there, back = self._ways_to(host, target, to)
        gives_up_at = self.now + DIAL_TIMEOUT_S

        def fail(reason: str) -> None:
            if self._alive(host, engine):
                engine.dial_failed(dial.target_id, reason, self.now)
                host.drain()

        def call() -> None:
            self.clock.call_after(there.delay(), knock)

        def knock() -> None:
            silent = target is not None and not target.reachable
            if silent or Transport.TCP in there.cut | back.cut:
                again_at = self.now + SYN_RETRANSMISSION_S
                if again_at < gives_up_at:
                    self.clock.call_at(again_at, knock)
                else:
                    self.clock.call_at(gives_up_at, lambda: fail("no answer to the TCP connection"))
            elif target is None or not target.up:
                self.clock.call_after(back.delay(), lambda: fail("connection refused"))
            else:
                callee = target
                self.clock.call_after(back.delay(), lambda: connect(callee))

        def connect(callee: Host) -> None:
            if self._alive(host, engine):
                self._connect(host, callee, dial, to)

        call()

    def carry_bytes(self, host: Host, output: LinkOutput) -> None:
        end = self._ends.get(output.link)
        if end is None or not end.open:
            return
        if output.data and end.other is not None:
            self.watch.stream_written(host.life, output.data)
            self._note(host, end.other.host.nickname, Transport.TCP, output.data, "")
            self._write(end, output.data)
        if output.close:
            end.open = False
            self._write(end, StreamEnd.CLOSED)

    def carry_datagram(self, host: Host, data: bytes, to: Endpoint) -> None:
        source, target = host.address, self._find(host, to)
        name = target.nickname if target is not None else str(to)
        self.watch.datagram_sent(host.life, str(target.address if target is not None else to), data)
        if target is None:
            self._note(host, name, Transport.UDP, data, "nobody there")
            return
        way = self.network.way(source, target.address)
        fate = (
            way.send_datagram(len(data), self.now)
            if self.datagram_filter(source, to, data)
            else Fate((), "lost")
        )
        self._note(host, name, Transport.UDP, data, fate.fault)

        def arrive() -> None:
            if Transport.UDP in way.cut:
                self._note(host, name, Transport.UDP, data, "cut on its way")
            elif not target.up:
                self._note(host, name, Transport.UDP, data, "nobody there any more")
            else:
                target.receive_datagram(data, source)

        for at in fate.arrivals:
            self.clock.call_at(at, arrive)

    def host_died(self, host: Host, *, silent: bool) -> None:
        for end in list(self._ends.values()):
            if end.host is host and end.open:
                end.open = False
                if not silent:
                    self._write(end, StreamEnd.RESET)

    # Streams.

    def _connect(self, host: Host, callee: Host, dial: Dial, to: Endpoint) -> None:
        """The SYN was answered: the dialler's end stands, the other's with the next packet."""
        from_port = Endpoint(host.address.host, 40000 + self._next_link % 20000)
        ours = self._open_end(host, callee, to)
        theirs = self._open_end(callee, host, from_port)
        ours.other, theirs.other = theirs, ours
        self._write(ours, StreamEnd.OPENED)
        host.engine.link_opened(ours.link, to, dial.target_id, self.now)
        host.drain()

    def _open_end(self, host: Host, other: Host, remote: Endpoint) -> _End:
        way = self.network.way(host.address, other.address)
        end = _End(host, host.engine, self._next_link, Stream(way), remote)
        self._next_link += 1
        self._ends[end.link] = end
        return end

    def _write(self, end: _End, item: bytes | StreamEnd) -> None:
        end.out.write(item, self.now)
        self._schedule(end)

    def _schedule(self, end: _End) -> None:
        """One timer for each stream: when its next bytes arrive."""
        deadline = end.out.next_deadline()
        if deadline is not None and end.delivery is None:
            end.delivery = self.clock.call_at(deadline, lambda: self._deliver(end))

    def _deliver(self, end: _End) -> None:
        end.delivery = None
        other = end.other
        assert other is not None, "both ends are made together"
        for item in end.out.read(self.now, reachable=other.host.reachable):
            self._arrive(other, item)
        self._schedule(end)
        if end.out.next_deadline() is None and not end.open:
            self._ends.pop(end.link, None)

    def _arrive(self, end: _End, item: bytes | StreamEnd) -> None:
        """Something of the other end's comes to ``end``."""
        host = end.host
        if item is StreamEnd.CLOSED or item is StreamEnd.RESET:
            self._end(end, item.value)
        elif not self._alive(host, end.engine):
            # The process that held this connection is gone: its kernel says so.
            self._write(end, StreamEnd.RESET)
        elif end.open:
            if isinstance(item, bytes):
                end.engine.receive_link_bytes(end.link, item, self.now)
            else:
                end.engine.link_opened(end.link, end.remote, None, self.now)
            host.drain()

    def _end(self, end: _End, reason: str) -> None:
        """``end`` is told that its connection is over."""
        if end.open and self._alive(end.host, end.engine):
            end.open = False
            end.engine.link_ended(end.link, reason, self.now)
            end.host.drain()
        end.open = False
        if end.out.next_deadline() is None:
            self._ends.pop(end.link, None)

    # Within.

    def _find(self, source: Host, to: Endpoint) -> Host | None:
        return source if to in source.private else self._at.get(to)

    def _ways(self, one: Host, other: Host, one_way: bool) -> list[tuple[Endpoint, Endpoint]]:
        there = (one.address, other.address)
        return [there] if one_way else [there, (other.address, one.address)]

    def _ways_to(self, host: Host, target: Host | None, to: Endpoint) -> tuple[Way, Way]:
        address = target.address if target is not None else to
        return (
            self.network.way(host.address, address),
            self.network.way(address, host.address),
        )

    def _alive(self, host: Host, engine: Engine) -> bool:
        return host.up and host.engine is engine

    def _note(self, host: Host, to: str, transport: Transport, data: bytes, fault: str) -> None:
        self.trace.add(Packet(self.now, host.nickname, to, transport, data, fault))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever goes wrong is told with the state of the cluster, and with what replays it."""
        try:
            yield
        except Exception as error:
            error.add_note(f"{self!s}\nlast packets:\n{self.trace.text()}")
            raise

    @property
    def replay_line(self) -> str:
        """What runs this again: as told, or the test of pytest that is running."""
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        return self.replay or (f"pytest '{test}'" if test else f"Cluster(seed={self.seed})")

    def __str__(self) -> str:
        rows = (
            f"{host.nickname}: {row['state']} {row['nickname'] or row['address']} {row['reason']}"
            for host in self.hosts
            if host.up
            for row in host.engine.reports.connections()
        )
        first = f"seed {self.seed} at {self.now:.3f} s; replay: {self.replay_line}"
        return "\n  ".join([first, *rows])
