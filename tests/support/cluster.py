"""Whole engines in one process, under virtual time.

A `Cluster` is a clock and a network; a `Host` is one machine on it, on which one `Engine` after
the other runs. Links are ordered byte streams, datagrams get lost and delayed; everything that is
drawn comes from one seed, which every failure prints. The driver is the contract of
`meshnet.engine` and nothing more: one input, drain, wait.

    cluster = Cluster(seed=1)
    a, b = cluster.add("a"), cluster.add("b")
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=2)
    a.send(frame)
    cluster.run_for(0.1)
    assert b.frames == [frame]
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import TypeVar

from attrs import define, field

from meshnet.engine import Dial, Engine, EngineConfig
from meshnet.events import Event
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.links import LinkId, LinkOutput
from meshnet.report import ConnectionReport
from meshnet.wire.identity import Identity
from support.samples import NETWORK, PSK, endpoint

E = TypeVar("E")

MAX_STEPS_WITHOUT_TIME = 10_000
"""An engine that wants to be called this often at one instant would spin a real driver."""


@define(frozen=True)
class Sent:
    """One line of the cluster's trace: bytes that a host gave to the network."""

    at: float
    source: str
    to: str
    data: bytes


@define(eq=False)
class _End:
    """One end of a TCP connection. ``engine`` is the life of the host that holds it."""

    host: Host
    engine: Engine
    link: LinkId
    other: _End | None = None
    open: bool = True
    arrival: float = 0.0
    """When the last byte sent from here arrives: streams keep their order."""


class Host:
    """One machine. ``private`` addresses it announces too, but they lead others elsewhere."""

    def __init__(
        self,
        cluster: Cluster,
        nickname: str,
        address: Endpoint,
        *,
        seed: bytes,
        private: tuple[Endpoint, ...],
        config: dict[str, object],
    ) -> None:
        self.cluster = cluster
        self.nickname = nickname
        self.address = address
        self.private = private
        self.generation = 0
        self.up = False
        self.engine: Engine
        self.events: list[Event] = []
        self.frames: list[bytes] = []
        self._identity = Identity.of_seed(seed)
        self._config = config
        self._told: list[tuple[str, int]] = []
        self.start()

    @property
    def name(self) -> PeerName:
        return self._identity.name

    @property
    def peers(self) -> set[PeerName]:
        """Those to whom frames flow."""
        return set(self.engine.peers_with_session())

    def start(self, **changes: object) -> None:
        """A new life on the same disk, told of the same peers as the last."""
        self.generation += 1
        drawn = random.Random(f"{self.cluster.seed}/{self.nickname}/{self.generation}")
        config: dict[str, object] = {
            "psk": PSK,
            "network": NETWORK,
            "nickname": self.nickname,
            "incarnation": 1,
            "generation": self.generation,
            "life": drawn.getrandbits(64),
            "endpoints": (*self.private, self.address),
        }
        config.update(self._config | changes)
        self.engine = Engine(
            EngineConfig(self._identity, **config),  # type: ignore[arg-type]
            drawn.randbytes,
            self.cluster.now,
        )
        self.up = True
        self.events.clear()
        self.frames.clear()
        for host, port in self._told:
            self.engine.connect(host, port, self.cluster.now)
        self.drain()

    def crash(self, *, silent: bool = False) -> None:
        """The process dies. Its kernel resets its connections, unless the machine is ``silent``."""
        self.up = False
        self.cluster.host_died(self, silent=silent)

    def restart(self) -> None:
        self.crash()
        self.start()

    def stop(self) -> None:
        """The process ends as it should."""
        self.engine.stop(self.cluster.now)
        self.drain()

    def connect(self, to: Host | Endpoint) -> None:
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
        return [event for event in self.events if isinstance(event, kind)]

    def connection(self, address: Host | Endpoint) -> ConnectionReport:
        """The one row of the report for an address."""
        at = str(address.address if isinstance(address, Host) else address)
        [row] = [row for row in self.engine.reports.connections() if row["address"] == at]
        return row

    def drain(self) -> None:
        """Carry out all that the engine wants, until it wants nothing."""
        engine, busy = self.engine, True
        while busy:
            outputs, dials = engine.links_to_send(), engine.dials_to_make()
            datagrams, frames = engine.datagrams_to_send(), engine.frames_to_deliver()
            for output in outputs:
                self.cluster.carry_bytes(self, output)
            for dial in dials:
                self.cluster.carry_dial(self, dial)
            for data, to in datagrams:
                self.cluster.carry_datagram(self, data, to)
            self.frames.extend(frames)
            busy = bool(outputs or dials or datagrams or frames)
            while (event := engine.next_event()) is not None:
                self.events.append(event)
                busy = True


@define(eq=False, slots=False)
class Cluster:
    """The network, and the clock. ``loss`` is of datagrams; delays are one way, in seconds."""

    seed: int = 1
    delay_s: float = 0.001
    jitter_s: float = 0.0
    loss: float = 0.0
    now: float = 1000.0
    hosts: list[Host] = field(factory=list)
    trace: list[Sent] = field(factory=list)
    datagram_filter: Callable[[Endpoint, Endpoint, bytes], bool] = lambda _source, _to, _data: True
    """Asked of each datagram whether it passes; what tests put here holds packets in its hand."""

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/network")
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._ends: dict[LinkId, _End] = {}
        self._cuts: set[frozenset[str]] = set()

    def add(self, nickname: str, *, private: tuple[Endpoint, ...] = (), **config: object) -> Host:
        """A further machine with a running engine; ``config`` changes its `EngineConfig`."""
        seed = random.Random(f"{self.seed}/{nickname}").randbytes(32)
        address = endpoint(len(self.hosts) + 1)
        host = Host(self, nickname, address, seed=seed, private=private, config=config)
        self.hosts.append(host)
        return host

    def add_many(self, count: int) -> list[Host]:
        return [self.add(f"host{number}") for number in range(1, count + 1)]

    # Time.

    def run_for(self, duration_s: float) -> None:
        limit = self.now + duration_s
        while self._step(limit):
            pass

    def run_until(self, condition: Callable[[], bool], *, within_s: float) -> float:
        """Seconds until ``condition`` holds; a failure if that takes longer than ``within_s``."""
        start, limit = self.now, self.now + within_s
        while not condition():
            if not self._step(limit):
                raise AssertionError(f"not within {within_s} s, with {self!s}")
        return self.now - start

    def meshed(self) -> bool:
        """Every host that is up has a data session with every other."""
        up = {host.name for host in self.hosts if host.up}
        return all(host.peers == up - {host.name} for host in self.hosts if host.up)

    # Faults.

    def cut(self, one: Host, other: Host) -> None:
        """Nothing passes between the two, and nobody is told."""
        self._cuts.add(frozenset((one.nickname, other.nickname)))

    def mend(self) -> None:
        self._cuts.clear()

    # For hosts.

    def carry_dial(self, host: Host, dial: Dial) -> None:
        to, engine = Endpoint(dial.host, dial.port), host.engine
        self._after(self._delay(), lambda: self._arrive_dial(host, engine, dial, to))

    def carry_bytes(self, host: Host, output: LinkOutput) -> None:
        end = self._ends[output.link]
        if output.data and end.other is not None:
            self.trace.append(Sent(self.now, host.nickname, end.other.host.nickname, output.data))
            self._on_stream(end, lambda other: self._arrive_bytes(other, output.data))
        if output.close and end.open:
            end.open = False
            self._on_stream(end, lambda other: self._end(other, "closed by the other end"))

    def carry_datagram(self, host: Host, data: bytes, to: Endpoint) -> None:
        self.trace.append(Sent(self.now, host.nickname, str(to), data))
        source, target = host.address, self._find(host, to)
        lost = self._random.random() < self.loss
        if target is None or lost or not self.datagram_filter(source, to, data):
            return

        def arrive() -> None:
            if target.up and not self._is_cut(host, target):
                target.receive_datagram(data, source)

        self._after(self._delay(), arrive)

    def host_died(self, host: Host, *, silent: bool) -> None:
        for end in self._ends.values():
            if end.host is host and end.open:
                end.open = False
                if not silent:
                    self._on_stream(end, lambda other: self._end(other, "connection reset"))

    # Within.

    def _step(self, limit: float) -> bool:
        """The next thing that happens; False when nothing does until ``limit``."""
        timers = [
            (deadline, host)
            for host in self.hosts
            if host.up and (deadline := host.engine.next_deadline()) is not None
        ]
        timer_at = min((deadline for deadline, _ in timers), default=float("inf"))
        packet_at = self._queue[0][0] if self._queue else float("inf")
        at = min(timer_at, packet_at)
        if at > limit:
            self.now = limit
            return False
        self._count_idle_steps(at)
        self.now = max(self.now, at)
        if packet_at <= timer_at:
            heapq.heappop(self._queue)[2]()
        else:
            host = next(host for deadline, host in timers if deadline == timer_at)
            host.engine.handle_timer(self.now)
            host.drain()
        return True

    _idle_steps = 0

    def _count_idle_steps(self, at: float) -> None:
        self._idle_steps = self._idle_steps + 1 if at <= self.now else 0
        assert self._idle_steps < MAX_STEPS_WITHOUT_TIME, f"time stands still, with {self!s}"

    def _arrive_dial(self, host: Host, engine: Engine, dial: Dial, to: Endpoint) -> None:
        if not self._alive(host, engine):
            return
        target = self._find(host, to)
        if target is None or not target.up or self._is_cut(host, target):
            engine.dial_failed(dial.target_id, "connection refused", self.now)
            host.drain()
            return
        ours = self._open_end(host)
        theirs = self._open_end(target)
        ours.other, theirs.other = theirs, ours
        from_port = Endpoint(host.address.host, 40000 + theirs.link % 20000)
        target.engine.link_opened(theirs.link, from_port, None, self.now)
        target.drain()
        engine.link_opened(ours.link, to, dial.target_id, self.now)
        host.drain()

    def _open_end(self, host: Host) -> _End:
        end = _End(host, host.engine, len(self._ends) + 1)
        self._ends[end.link] = end
        return end

    def _arrive_bytes(self, end: _End, data: bytes) -> None:
        if self._alive(end.host, end.engine):
            end.engine.receive_link_bytes(end.link, data, self.now)
            end.host.drain()
        elif end.host.up:
            # The process that held this connection is gone: its kernel says so.
            self._on_stream(end, lambda other: self._end(other, "connection reset"))

    def _end(self, end: _End, reason: str) -> None:
        end.open = False
        if self._alive(end.host, end.engine):
            end.engine.link_ended(end.link, reason, self.now)
            end.host.drain()

    def _on_stream(self, end: _End, deliver: Callable[[_End], None]) -> None:
        """After all that was sent before on this stream."""
        other = end.other
        if other is None:
            return
        end.arrival = max(end.arrival, self.now + self._delay())

        def arrive() -> None:
            if not self._is_cut(end.host, other.host):
                deliver(other)

        self._after(end.arrival - self.now, arrive)

    def _find(self, source: Host, to: Endpoint) -> Host | None:
        if to in source.private:
            return source
        return next((host for host in self.hosts if host.address == to), None)

    def _alive(self, host: Host, engine: Engine) -> bool:
        return host.up and host.engine is engine

    def _is_cut(self, one: Host, other: Host) -> bool:
        return frozenset((one.nickname, other.nickname)) in self._cuts

    def _delay(self) -> float:
        return self.delay_s + self._random.random() * self.jitter_s

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._serial, action))

    def __str__(self) -> str:
        rows = (
            f"{host.nickname}: {row['state']} {row['nickname'] or row['address']} {row['reason']}"
            for host in self.hosts
            if host.up
            for row in host.engine.reports.connections()
        )
        return f"seed {self.seed} at {self.now:.3f} s:\n  " + "\n  ".join(rows)
