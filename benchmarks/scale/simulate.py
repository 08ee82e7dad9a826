"""Simulated meshes: whole engines under virtual time, and what happens to them."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, TypedDict

from attrs import define

from meshnet.crdt import LwwMap
from meshnet.ids import ChannelId, PeerName
from meshnet.peering.config import EngineConfig
from meshnet.testing import Cluster, Host, SeededRng
from meshnet.topology.records import TOPOLOGY, read_record
from scale.traffic import Meter

CHANNEL = "bench"
CHANNEL_ID = ChannelId(CHANNEL, LwwMap.name)
# How closely the spreading of a change is looked at.
LOOK_S = 0.005
# After this long without a change nothing is on its way any more, and all links have been heard.
QUIET_S = 30.0
DEFAULT_DEGREE = 32
# Where the engine keeps no bounded set of neighbours: so many rings are told to it by hand.
RINGS = 4

# An update is signed that much later, together with others.
SIGNED_S = 0.003

Curve = list[tuple[float, float]]
"""(seconds, share of the peers that know)."""


class OutOfTimeError(Exception):
    """The run has used up the time that it was given."""


class Reached(TypedDict):
    """When how many knew; None: not within the time that was given."""

    t50_s: float | None
    t99_s: float | None
    t100_s: float | None
    curve: Curve


@define
class Options:
    """What is simulated. ``budget_s`` is real time; all other times are virtual."""

    peers: int
    entries: int
    degree: int = DEFAULT_DEGREE
    seed: int = 1
    delay_s: float = 0.01
    jitter_s: float = 0.005
    changes: int = 5
    idle_s: float = 60.0
    apart_s: float = 60.0
    budget_s: float = 3600.0


class Simulation:
    """One mesh, taken through phases; what they measured stands in ``results``."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.results: dict[str, Any] = {}
        self._rng = SeededRng(options.seed, "control plane")
        self._meter = Meter()
        self._started = time.monotonic()
        self._told = 0.0
        self._phase = ""
        self._memory_before = _rss_bytes()
        self.cluster = Cluster(
            seed=options.seed, delay_s=options.delay_s, jitter_s=options.jitter_s
        )
        self.cluster.trace = self._meter
        self._version = 0

    # Phases.

    def form(self) -> None:
        """All start at once, each told of one that was there before it."""
        options, draw = self.options, self._rng.stream("form").draw
        self._enter("form")
        config = self._bounds()
        for number in range(1, options.peers + 1):
            self.cluster.add(f"host{number}", **config)
        hosts = self.cluster.hosts
        if config.get("discovery", True):
            for number, host in enumerate(hosts[1:], start=1):
                host.connect(hosts[draw.randrange(number)])
        else:
            for _ in range(RINGS):
                ring = draw.sample(hosts, len(hosts))
                for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
                    one.connect(other)
        formed_s = self._until(self._all_agree, within_s=120.0, every_s=0.25)
        sent = self._meter.take()
        self.results["form"] = {
            "settled_s": formed_s,
            "packets": sent.packets,
            "bytes_per_peer": sent.bytes / options.peers,
            "links_per_peer": statistics.mean(len(_linked(host)) for host in hosts),
        }
        self._measure_memory()

    def fill(self) -> None:
        """Write the entries that the state shall have, in equal parts."""
        self._enter("fill")
        hosts, entries = self.cluster.hosts, self.options.entries
        for number, host in enumerate(hosts):
            keys = range(number, entries, len(hosts))
            if keys:
                self._write(host, {f"key {key}": b"first value" for key in keys})
        start = self.cluster.now
        self._run_for(SIGNED_S)
        took_s = self._until(self._all_agree, within_s=300.0, every_s=0.25, since=start)
        self.results["fill"] = {"entries": entries, "settled_s": took_s}
        self._meter.take()
        self._measure_memory()

    def idle(self) -> None:
        """What is sent while nothing happens."""
        self._enter("idle")
        self._run_for(QUIET_S)
        self._meter.take()
        self._run_for(self.options.idle_s)
        sent, idle_s = self._meter.take(), self.options.idle_s
        rates = sorted(size * 8 / 1000 / idle_s for size in sent.by_host.values())
        self.results["idle"] = {
            "kbit_per_s_mean": statistics.mean(rates),
            "kbit_per_s_max": rates[-1],
            "packets_per_s": sent.packets / idle_s / self.options.peers,
        }

    def disseminate(self) -> None:
        """One peer changes one entry: when do the others know, and what does it cost?"""
        self._enter("disseminate")
        runs: list[Reached] = []
        packets: list[float] = []
        size_bytes: list[float] = []
        idle_kbit = self.results.get("idle", {}).get("kbit_per_s_mean", 0.0)
        for writer in self._rng.stream("writers").draw.sample(
            self.cluster.hosts, self.options.changes
        ):
            self._run_for(2.0)
            self._meter.take()
            start = self.cluster.now
            self._change(writer)
            runs.append(self._spread([writer], within_s=30.0))
            sent, took_s = self._meter.take(), self.cluster.now - start
            idle_bytes = idle_kbit * 1000 / 8 * took_s * self.options.peers
            packets.append(sent.packets / self.options.peers)
            size_bytes.append((sent.bytes - idle_bytes) / self.options.peers)
        worst = max(runs, key=_when_nearly_all)
        self.results["disseminate"] = {
            **worst,
            "changes": len(runs),
            "t99_median_s": statistics.median(map(_when_nearly_all, runs)),
            "packets_per_peer": statistics.mean(packets),
            "bytes_per_peer": statistics.mean(size_bytes),
        }

    def partition(self) -> None:
        """Half and half, each half goes on writing; then the two meet again."""
        self._enter("partition")
        hosts = self.cluster.hosts
        half = self._rng.stream("halves").draw.sample(hosts, len(hosts) // 2)
        others = [host for host in hosts if host not in half]
        self.cluster.partition(half)
        self._run_for(self.options.apart_s)
        apart = _components(hosts)
        self._change(half[0])
        self._change(others[0])
        self._run_for(QUIET_S)
        self.cluster.mend()
        start = self.cluster.now
        known = self._spread([half[0], others[0]], within_s=60.0)
        healed = self._until(self._all_agree, within_s=60.0, every_s=0.1, since=start)
        self.results["partition"] = {**known, "parts": len(apart), "healed_s": healed}
        self._meter.take()

    def restart(self, share: float = 0.3) -> None:
        """So many processes die at once and start again at once."""
        self._enter("restart")
        hosts = self.cluster.hosts
        chosen = self._rng.stream("restart").draw.sample(hosts, round(share * len(hosts)))
        for host in chosen:
            host.crash()
        for host in chosen:
            host.start()
        self.results["restart"] = {
            "peers": len(chosen),
            "settled_s": self._until(self._all_agree, within_s=120.0, every_s=0.25),
        }
        self._meter.take()

    def die(self, share: float = 0.8, *, silent: bool = False) -> None:
        """So many die at once and do not come back; when are the others one mesh?"""
        self._enter("die")
        hosts = self.cluster.hosts
        for host in self._rng.stream("die").draw.sample(hosts, round(share * len(hosts))):
            host.crash(silent=silent)
        start = self.cluster.now
        left = [host for host in hosts if host.up]
        one = self._until(lambda: len(_components(left)) == 1, within_s=120.0, every_s=0.1)
        routed = self._until(self._all_routed, within_s=120.0, every_s=0.1, since=start)
        self.results["die"] = {"left": len(left), "one_component_s": one, "routed_s": routed}
        self._meter.take()

    # Within.

    def _bounds(self) -> dict[str, Any]:
        """How the engine is kept from linking everybody with everybody."""
        if "degree" in EngineConfig.__match_args__:
            return {"degree": self.options.degree}
        if self.options.peers <= self.options.degree:
            return {}
        return {"discovery": False}

    def _write(self, host: Host, values: dict[str, bytes]) -> None:
        """All in one update; the channel is open at those that write, and there alone."""
        opened, origin = host.channel(CHANNEL, LwwMap), host.engine.channels.origin
        bulk = LwwMap()
        for key, value in values.items():
            bulk.apply(opened.value.put(origin, key, value))
        host.engine.update(opened, bulk, self.cluster.now)
        host.drain()

    def _change(self, host: Host) -> None:
        self._version += 1
        self._write(host, {f"changed by {host.nickname}": b"%d" % self._version})

    def _spread(self, writers: list[Host], *, within_s: float) -> Reached:
        """Look on until all know the newest fragments of ``writers``."""
        self._run_for(SIGNED_S)
        start = self.cluster.now
        wanted = {host.name: _sequence(host, host.name) for host in writers}
        unaware = [host for host in self.cluster.hosts if host.up]
        count = len(unaware)
        curve: Curve = []
        while True:
            unaware = [
                host
                for host in unaware
                if any(_sequence(host, name) < number for name, number in wanted.items())
            ]
            known = round(1.0 - len(unaware) / count, 6)
            elapsed_s = self.cluster.now - start
            if not curve or known != curve[-1][1]:
                curve.append((round(elapsed_s, 4), known))
            if not unaware or elapsed_s >= within_s:
                break
            self._run_for(LOOK_S)
        return {
            "t50_s": _reached(curve, 0.5),
            "t99_s": _reached(curve, 0.99),
            "t100_s": _reached(curve, 1.0),
            "curve": curve,
        }

    def _all_agree(self) -> bool:
        """Everybody has a way to everybody, by links of their own where these are not too many;
        and they hold the same, which is what is so."""
        if not self._all_routed():
            return False
        up = [host for host in self.cluster.hosts if host.up]
        if any(_announced(host) != _linked(host) for host in up):
            return False
        if len(up) <= self.options.degree and any(len(_linked(host)) < len(up) - 1 for host in up):
            return False
        first = up[0].engine.gossip.replica.index.digest
        return all(host.engine.gossip.replica.index.digest == first for host in up)

    def _all_routed(self) -> bool:
        up = [host for host in self.cluster.hosts if host.up]
        if any(len(host.engine.routes()) < len(up) - 1 for host in up):
            return False
        names = {host.name for host in up}
        return all(names - {host.name} <= host.engine.routes().keys() for host in up)

    def _until(
        self,
        condition: Callable[[], bool],
        *,
        within_s: float,
        every_s: float,
        since: float | None = None,
    ) -> float | None:
        start = since if since is not None else self.cluster.now
        limit = self.cluster.now + within_s
        while not condition():
            if self.cluster.now >= limit:
                return None
            self._run_for(every_s)
        return self.cluster.now - start

    def _run_for(self, duration_s: float) -> None:
        """Let time pass, saying now and then how far it is. Raises OutOfTimeError."""
        end = self.cluster.now + duration_s
        while (left_s := end - self.cluster.now) > 1e-9:
            self.cluster.run_for(min(left_s, 0.05))
            for host in self.cluster.hosts:
                host.events.clear()
            elapsed_s = time.monotonic() - self._started
            if elapsed_s - self._told > 5.0:
                self._tell(elapsed_s)
            if elapsed_s > self.options.budget_s:
                raise OutOfTimeError(f"{self._phase}: {self.options.budget_s:.0f} s are used up")

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._tell(time.monotonic() - self._started)

    def _tell(self, elapsed_s: float) -> None:
        self._told = elapsed_s
        sys.stderr.write(
            f"{self.options.peers} peers, {self._phase}: {self.cluster.now - 1000:.1f} s virtual, "
            f"{elapsed_s:.0f} s real, {_rss_bytes() / 2**20:.0f} MiB\n"
        )
        sys.stderr.flush()

    def _measure_memory(self) -> None:
        grown = (_rss_bytes() - self._memory_before) / self.options.peers
        self.results["memory"] = {
            "mib_per_peer": grown / 2**20,
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def _sequence(host: Host, writer: PeerName) -> int:
    fragment = host.engine.gossip.replica.get(CHANNEL_ID, writer)
    return fragment.head.sequence if fragment is not None else -1


def _when_nearly_all(run: Reached) -> float:
    return run["t99_s"] if run["t99_s"] is not None else float("inf")


def _reached(curve: Curve, share: float) -> float | None:
    return next((at for at, known in curve if known >= share - 1e-9), None)


def _linked(host: Host) -> set[PeerName]:
    return set(host.engine.links.by_peer)


def _announced(host: Host) -> set[PeerName]:
    """To whom it says that it is linked."""
    fragment = host.engine.gossip.replica.get(TOPOLOGY, host.name)
    assert fragment is not None, "a peer writes its record first of all"
    return set(read_record(host.name, b"", dict(fragment.tree)).links)


def _components(hosts: list[Host]) -> list[set[PeerName]]:
    """Who reaches whom by links that stand at both ends: not by the routes under test."""
    links = {host.name: _linked(host) for host in hosts if host.up}
    unseen, parts = set(links), list[set[PeerName]]()
    while unseen:
        part, border = set[PeerName](), [unseen.pop()]
        while border:
            name = border.pop()
            part.add(name)
            near = {other for other in links[name] & unseen if name in links[other]}
            unseen -= near
            border += near
        parts.append(part)
    return parts


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 -- not a file to speak of
        return int(statm.read().split()[1]) * resource.getpagesize()
