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
from typing import Any

from attrs import define, field

from meshnet.ids import Endpoint
from meshnet.testing.clock import Clock
from meshnet.testing.connections import Connections
from meshnet.testing.emulator import Conditions, Fate, Network, Transport
from meshnet.testing.host import Host
from meshnet.testing.nat import Nat
from meshnet.testing.places import Places
from meshnet.testing.rng import SeededRng
from meshnet.testing.state import MemoryState
from meshnet.testing.trace import Packet, Trace
from meshnet.testing.watch import Watch

NETWORK = "test"
PSK = b"\x07" * 32
PORT = 6783


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
        self._places = Places(self.clock)
        self.connections = Connections(self.clock, self.network, self._places, self._stream_written)

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
        self._places.put(host)
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
        """Every host that is up reaches every other, and nobody else.

        That is by a data session with each; above ``degree`` by a way to each, and a session with
        those that it is linked to: with others they come when frames flow.
        """
        up = {host.name for host in self.hosts if host.up}
        return all(host.reached == up - {host.name} for host in self.hosts if host.up)

    # Faults.

    def move(self, host: Host, to: Endpoint, *, noticed: bool = False) -> None:
        """``host`` has another address from now on: connections by its former one are dead.

        Nobody is told; with ``noticed`` the host itself is, as a node is by its kernel.
        """
        self._places.move(host, to)
        if noticed:
            host.notice_move()

    def put_behind(self, nat: Nat | None, *hosts: Host) -> None:
        """From now on these are behind ``nat``, or behind none. Connections that stand break."""
        for host in hosts:
            self.connections.forget_way(host)
            self._places.put_behind(host, nat)

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
        if one is None and other is None:
            self.network.impair_all(**changes)
            return
        for source, to in self._ways(one, other, one_way):
            self.network.impair(source, to, **changes)

    def restore(self, one: Host | None = None, other: Host | None = None) -> None:
        """Undo what `impair` did: between two hosts, or everywhere when none is named."""
        if one is None and other is None:
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
        self.network.partition([host.address for host in side])

    def mend(self, one: Host | None = None, other: Host | None = None) -> None:
        """Undo cuts and partitions: between two hosts, or all."""
        if one is None and other is None:
            self.network.mend_all()
            return
        for source, to in self._ways(one, other, False):
            self.network.mend(source, to)

    def reset(self, one: Host, other: Host) -> None:
        """Every connection between the two breaks, as a firewall's RST does it, at both ends."""
        self.connections.reset(one, other)

    def end_of_faults(self) -> None:
        """No cut, no changed condition; who is down stays down."""
        self.network.clear()

    # For hosts.

    def carry_datagram(self, host: Host, data: bytes, to: Endpoint) -> None:
        host.sent_on_wire.datagram(len(data))
        source = self._places.leave(host, to, Transport.UDP)
        target = self._places.find(host, to, source, Transport.UDP)
        name = target.nickname if target is not None else str(to)
        self.watch.datagram_sent(host.life, str(target.address if target is not None else to), data)
        if target is None:
            self._note(host, name, Transport.UDP, data, "nobody there")
            return
        way, address = self.network.way(host.address, target.address), target.address
        fate = (
            way.send_datagram(len(data), self.now)
            if self.datagram_filter(source, to, data)
            else Fate((), "lost")
        )
        self._note(host, name, Transport.UDP, data, fate.fault)

        def arrive() -> None:
            if Transport.UDP in way.cut:
                self._note(host, name, Transport.UDP, data, "cut on its way")
            elif not target.up or not target.reachable or target.address != address:
                self._note(host, name, Transport.UDP, data, "nobody there any more")
            else:
                target.receive_datagram(data, source)

        for at in fate.arrivals:
            self.clock.call_at(at, arrive)

    # Within.

    def _stream_written(self, source: Host, to: Host, data: bytes) -> None:
        source.sent_on_wire.written(len(data))
        self.watch.stream_written(source.life, data)
        self._note(source, to.nickname, Transport.TCP, data, "")

    def _ways(
        self, one: Host | None, other: Host | None, one_way: bool
    ) -> list[tuple[Endpoint, Endpoint]]:
        if one is None or other is None:
            raise ValueError("name two hosts, or none for all ways")
        there = (one.address, other.address)
        return [there] if one_way else [there, (other.address, one.address)]

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
