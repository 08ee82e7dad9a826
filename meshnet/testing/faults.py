"""Faults as values: what goes wrong when, drawn from a seed or written by hand.

faults = draw_faults(SeededRng(7), hosts=12, count=10, duration_s=20.0)
schedule(cluster, faults)
cluster.run_for(20.0)
end_faults(cluster)
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field

from meshnet.testing.cluster import Cluster
from meshnet.testing.emulator import BurstLoss, Transport
from meshnet.testing.host import Host
from meshnet.testing.rng import SeededRng


class FaultKind(enum.Enum):
    IMPAIR = "impair"
    """Other conditions between two hosts, or everywhere when none is named."""
    CUT = "cut"
    CUT_ONE_WAY = "cut one way"
    CUT_UDP = "cut UDP"
    """A firewall that lets TCP pass."""
    PARTITION = "partition"
    RESET = "reset"
    CRASH = "crash"
    """And start again when it is over."""
    CRASH_SILENTLY = "crash silently"
    """The machine dies with it, so nothing is reset."""
    RESTART = "restart"
    LOSE_DISK = "lose disk"
    """Restart as a new peer."""
    SET_BACK = "set back"
    """Restart on the first state the disk ever had, as from a backup."""
    LEAVE = "leave"
    """A goodbye, and back when it is over."""
    JOIN = "join"
    """One host more, told of one that is there."""

    def __repr__(self) -> str:
        """As code: a failure's faults can be copied into a test."""
        return str(self)


@define(frozen=True)
class Fault:
    """One thing that goes wrong: ``at_s`` after the start, over ``for_s`` later (0: at once).

    ``hosts`` are numbers into the cluster's list, taken modulo its length.
    """

    kind: FaultKind
    at_s: float
    for_s: float = 0.0
    hosts: tuple[int, ...] = ()
    changes: dict[str, Any] = field(factory=dict)
    """Of `Conditions`, where the kind is IMPAIR."""

    def begin(self, cluster: Cluster) -> None:
        """Do it."""
        hosts = [cluster.hosts[number % len(cluster.hosts)] for number in self.hosts]
        if self.kind is FaultKind.PARTITION:
            cluster.partition(hosts)
        elif self.kind is FaultKind.JOIN:
            cluster.add(f"joined{len(cluster.hosts) + 1}").connect(hosts[0])
        elif self.kind is FaultKind.IMPAIR:
            cluster.impair(*hosts, **self.changes)
        elif len(hosts) == 2:
            self._between(cluster, hosts[0], hosts[1])
        else:
            self._begin_on(hosts[0])

    def end(self, cluster: Cluster) -> None:
        """Undo it, as far as that is not the mesh's own business."""
        hosts = [cluster.hosts[number % len(cluster.hosts)] for number in self.hosts]
        if self.kind is FaultKind.IMPAIR:
            cluster.restore(*hosts)
        elif self.kind in _CUTS:
            cluster.mend(*hosts)
        elif self.kind is FaultKind.PARTITION:
            for one in hosts:
                for other in cluster.hosts:
                    cluster.mend(one, other)
        elif self.kind in _DOWN and not hosts[0].up:
            hosts[0].start()

    def _between(self, cluster: Cluster, one: Host, other: Host) -> None:
        if self.kind is FaultKind.RESET:
            cluster.reset(one, other)
        else:
            only = Transport.UDP if self.kind is FaultKind.CUT_UDP else None
            cluster.cut(one, other, one_way=self.kind is FaultKind.CUT_ONE_WAY, only=only)

    def _begin_on(self, host: Host) -> None:
        if not host.up:
            return  # Another fault has it.
        if self.kind is FaultKind.LEAVE:
            host.stop()
        elif self.kind in _DOWN:
            host.crash(silent=self.kind is FaultKind.CRASH_SILENTLY)
        elif self.kind is FaultKind.LOSE_DISK:
            host.lose_disk()
        elif self.kind is FaultKind.SET_BACK:
            host.set_back()
        else:
            host.restart()


_CUTS = {FaultKind.CUT, FaultKind.CUT_ONE_WAY, FaultKind.CUT_UDP}
_DOWN = {FaultKind.CRASH, FaultKind.CRASH_SILENTLY, FaultKind.LEAVE}
_BETWEEN_TWO = {FaultKind.RESET, *_CUTS}


def draw_faults(
    rng: SeededRng, *, hosts: int, count: int, duration_s: float, joins: int = 0
) -> list[Fault]:
    """``count`` faults and ``joins`` further hosts, spread over ``duration_s``, in order of time.

    Each has a stream of its own, so with one more the others stay the same.
    """
    kinds = [kind for kind in FaultKind if kind is not FaultKind.JOIN]
    faults = [_draw_fault(rng.stream(n), kinds, hosts, duration_s) for n in range(count)]
    faults += [
        _draw_fault(rng.stream("join", n), [FaultKind.JOIN], hosts, duration_s)
        for n in range(joins)
    ]
    return sorted(faults, key=lambda fault: fault.at_s)


def schedule(cluster: Cluster, faults: Iterable[Fault]) -> None:
    """Let them happen, counted from now."""
    for fault in faults:
        _plan(cluster, fault)


def end_faults(cluster: Cluster) -> None:
    """The network is well again and every host is up; what comes next is the mesh's own doing."""
    cluster.end_of_faults()
    for host in cluster.hosts:
        if not host.up:
            host.start()


def _plan(cluster: Cluster, fault: Fault) -> None:
    # The clock keeps this order when both are at one time.
    cluster.clock.call_after(fault.at_s, lambda: fault.begin(cluster))
    cluster.clock.call_after(fault.at_s + fault.for_s, lambda: fault.end(cluster))


def _draw_fault(rng: SeededRng, kinds: Sequence[FaultKind], hosts: int, duration_s: float) -> Fault:
    draw = rng.draw
    kind = draw.choice(kinds)
    at_s = draw.uniform(0.0, duration_s)
    # To the millisecond: these are read by people, and copied into tests.
    at_s, for_s = round(at_s, 3), round(draw.uniform(0.2, max(duration_s - at_s, 0.3)), 3)
    chosen: tuple[int, ...]
    changes: dict[str, Any] = {}
    if kind is FaultKind.PARTITION:
        chosen = tuple(sorted(draw.sample(range(hosts), draw.randint(1, max(1, hosts // 2)))))
    elif kind is FaultKind.IMPAIR:
        chosen = tuple(draw.sample(range(hosts), 2)) if draw.random() < 0.7 else ()
        changes = _draw_changes(rng)
    elif kind in _BETWEEN_TWO:
        chosen = tuple(draw.sample(range(hosts), 2))
    else:
        chosen = (draw.randrange(hosts),)
    lasts = kind in _DOWN or kind in _CUTS or kind in (FaultKind.IMPAIR, FaultKind.PARTITION)
    return Fault(kind, at_s, for_s if lasts else 0.0, chosen, changes)


def _draw_changes(rng: SeededRng) -> dict[str, Any]:
    """One or two conditions that are worse than good."""
    draw = rng.draw
    all_changes: dict[str, Any] = {
        "loss": round(draw.uniform(0.02, 0.5), 3),
        "burst_loss": BurstLoss(
            enter=round(draw.uniform(0.01, 0.2), 3), leave=round(draw.uniform(0.05, 0.5), 3)
        ),
        "delay_s": round(draw.uniform(0.01, 0.4), 3),
        "jitter_s": round(draw.uniform(0.01, 0.3), 3),
        "duplicate": round(draw.uniform(0.05, 0.8), 3),
        "reorder": round(draw.uniform(0.05, 0.6), 3),
        "rate_bytes_per_s": float(draw.randint(4_000, 100_000)),
        "segment_bytes": draw.randint(1, 200),
    }
    return {
        name: all_changes[name] for name in draw.sample(sorted(all_changes), draw.randint(1, 2))
    }
