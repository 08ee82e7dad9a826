"""Peers that write every type, lose links, disks and lives, and are cloned, end up equal.

Equal digests, equal values, and the value that somebody makes who comes last; what users were told
of changes, replayed, gives the value they see.
"""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnet.crdt import Counter, Lattice, LwwMap, LwwRegister, OrMap, OrSet
from meshnet.engine import Engine
from meshnet.errors import StateError
from meshnet.events import ChannelChanged
from meshnet.gossip.channels import OpenChannel
from meshnet.testing import Cluster, Host, MemoryState
from support.channels import ALL_TYPES, fresh_fold, replay, seen

KEYS = ["a", "b", "c", "d"]
# A peer that is answered again and again hesitates for up to 64 s before it takes back.
SETTLE_WITHIN_S = 300.0


class Run:
    """A cluster, what its users have opened and seen, and what goes wrong."""

    def __init__(self, peers: int, seed: int) -> None:
        self.draw = random.Random(seed)
        self.cluster = Cluster(seed=seed)
        self.opened: dict[Engine, dict[str, OpenChannel[Any]]] = {}
        self.views: dict[tuple[Engine, str], dict[Any, Any]] = {}
        self.told: dict[Engine, int] = {}
        self.hosts = [self.cluster.add(f"host{n}") for n in range(peers)]
        self.clones: list[Host] = []
        self.older: dict[Host, MemoryState] = {}
        # In half of the runs disks are in trouble all the time: what goes wrong goes wrong twice.
        self.bad_disks = self.draw.random() < 0.5
        for number, host in enumerate(self.hosts):
            self.open(host)
            if number:
                host.connect(self.draw.choice(self.hosts[:number]))

    def open(self, host: Host) -> None:
        """Open most channels; what is not opened is passed on all the same."""
        engine = host.engine
        self.opened[engine] = {}
        self.told[engine] = len(host.events)
        for kind in ALL_TYPES:
            if self.draw.random() < 0.85:
                opened = engine.open_channel("shared", kind, self.cluster.now)
                self.opened[engine][kind.name] = opened
                self.views[engine, kind.name] = seen(opened.value)
        host.drain()

    def watch(self, host: Host) -> None:
        """Replay what users were told since the last time."""
        engine = host.engine
        for event in host.events[self.told[engine] :]:
            if isinstance(event, ChannelChanged):
                for change in event.changes:
                    replay(self.views[engine, event.channel.type], change)
        self.told[engine] = len(host.events)

    def write(self, host: Host) -> None:
        opened = self.draw.choice([*self.opened[host.engine].values(), None])
        if opened is None:
            return
        engine, origin = host.engine, host.engine.channels.origin
        try:
            engine.update(opened, self.delta_of(opened.value, origin), self.cluster.now)
        except StateError:
            assert opened.is_undoing
        host.drain()

    def delta_of(self, value: Lattice[Any], origin: Any) -> Lattice[Any]:
        key, text = self.draw.choice(KEYS), self.draw.randbytes(2)
        if isinstance(value, LwwRegister):
            return value.put(origin, self.draw.choice((text, None)))
        if isinstance(value, Counter):
            return value.add(origin, self.draw.randint(-3, 3))
        if isinstance(value, OrSet):
            return value.remove(origin, key) if self.draw.random() < 0.3 else value.add(origin, key)
        assert isinstance(value, LwwMap | OrMap)
        if self.draw.random() < 0.3:
            return value.remove(origin, key)
        return value.put(origin, key, text)

    def step(self) -> None:
        draw, cluster = self.draw, self.cluster
        host = draw.choice([*self.hosts, *(clone for clone in self.clones if clone.up)])
        act = draw.random()
        if self.bad_disks and draw.random() < 0.25:
            act = draw.uniform(0.87, 1.0)
        if act < 0.5:
            for _ in range(draw.choice((1, 1, 3))):
                self.write(host)
                cluster.run_for(draw.choice((0.0, 0.003)))
        elif act < 0.7:
            cluster.run_for(draw.choice((0.001, 0.01, 0.1, 1.0, 15.0)))
        elif act < 0.76:
            cluster.cut(*draw.sample(self.hosts, 2))
        elif act < 0.80:
            cluster.reset(*draw.sample(self.hosts, 2))
        elif act < 0.84:
            cluster.mend()
        elif act < 0.87:
            host.disk.journal.disk_full = not host.disk.journal.disk_full
        elif act < 0.91:
            self.older[host] = copy.deepcopy(host.disk)
        else:
            self.restart(host, act)

    def restart(self, host: Host, act: float) -> None:
        self.watch(host)
        if act < 0.94:
            host.restart()
        elif act < 0.955:
            host.lose_disk()
            self.older.pop(host, None)
        elif act < 0.98:
            host.crash()
            host.disk = self.older.pop(host, host.disk)
            host.start()
        elif not self.clones:
            # Somebody starts a copy of the disk beside the original.
            self.clones.append(self.cluster.add(host.nickname))
            clone = self.clones[0]
            clone.crash()
            clone.disk = copy.deepcopy(host.disk)
            clone.start()
            clone.connect(self.draw.choice(self.hosts))
            host = clone
        elif self.clones[0].up:
            self.watch(self.clones[0])
            self.clones[0].crash()
            return
        self.open(host)

    def settle(self) -> None:
        for clone in self.clones:
            if clone.up:
                self.watch(clone)
                clone.crash()
        self.cluster.end_of_faults()
        for host in self.hosts:
            host.disk.journal.disk_full = False
            if host is not self.hosts[0]:
                host.connect(self.hosts[0])
        self.cluster.run_until(self.agrees, within_s=SETTLE_WITHIN_S, every_s=1.0)

    def agrees(self) -> bool:
        engines = [host.engine for host in self.hosts]
        return (
            len({engine.gossip.replica.index.digest for engine in engines}) == 1
            and not any(engine.channels.can_flush for engine in engines)
            and not any(
                opened.is_behind for engine in engines for opened in self.opened[engine].values()
            )
        )

    def check(self) -> None:
        for host in self.hosts:
            self.watch(host)
            for kind in ALL_TYPES:
                opened = self.opened[host.engine].get(kind.name)
                if opened is not None:
                    replica = host.engine.gossip.replica
                    assert opened.value == fresh_fold(replica, opened.id, kind)
                    assert seen(opened.value) == self.views[host.engine, kind.name]
        for kind in ALL_TYPES:
            values = [
                opened.value
                for host in self.hosts
                if (opened := self.opened[host.engine].get(kind.name)) is not None
            ]
            assert all(value == values[0] for value in values)


@settings(max_examples=40)
@given(st.integers(2, 4), st.integers(0, 2**32))
def test_all_peers_end_up_with_equal_values(peers: int, seed: int) -> None:
    run = Run(peers, seed)
    for _ in range(run.draw.randrange(20, 120)):
        run.step()
    run.settle()
    run.check()
