"""One run under random faults, and what must be true when they are over.

make deep SEEDS=1..3000      # many of them
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from attrs import define

from meshnet.crdt import OrSet
from meshnet.gossip.channels import OpenChannel
from meshnet.ids import PeerName
from meshnet.report import PeerReport
from meshnet.testing.cluster import Cluster
from meshnet.testing.faults import draw_faults, end_faults, schedule
from meshnet.testing.host import Host
from meshnet.testing.rng import SeededRng
from meshnet.testing.slow_routes import slow_routes
from meshnet.topology.records import TOPOLOGY, read_record

PEERS = 12
FAULTS = 8
FAULTS_S = 15.0
WRITES = 24
CHANNEL = "things"
# A dial under way may take 3 s to fail; a link the other end has lost is noticed within 25 s, and
# peers with a lasting refusal or reached through others are dialled every 15 s.
SETTLE_WITHIN_S = 60.0
_SETTLE_EVERY_S = 0.1
_FRAMES = 6
# A path that changes at the wrong moment may cost a frame, as on any network: it is sent again.
_FRAME_TRIES = 4
_FRAME_WITHIN_S = 0.5
_BROADCAST = b"\xff" * 6
_EXPERIMENTAL = b"\x88\xb5"


@define(frozen=True)
class Outcome:
    """How a run went: ``settled_s`` is how long after the last fault all was well again."""

    digest: str
    settled_s: float
    packets: int


class Scenario:
    """A mesh forms while things go wrong; then they stop, and it has to settle and carry frames.

    All of it depends on the seed alone. ``replay`` is the line that a failure prints.
    """

    def __init__(
        self, seed: int, *, peers: int = PEERS, faults: int = FAULTS, replay: str = ""
    ) -> None:
        self._rng = SeededRng(seed, "scenario")
        self._written: list[tuple[PeerName, OpenChannel[OrSet], int, str]] = []
        draw = self._rng.draw
        self.cluster = Cluster(
            seed=seed,
            delay_s=round(draw.uniform(0.0005, 0.03), 4),
            jitter_s=round(draw.choice((0.0, draw.uniform(0.0, 0.02))), 4),
            keep_packets=1000,
            replay=replay or f"make deep SEEDS={seed} RESULTS=/dev/null",
        )
        joins = min(draw.randint(0, 3), peers - 2)
        hosts = self.cluster.add_many(peers - joins)
        for number, host in enumerate(hosts[1:], start=1):
            host.connect(draw.choice(hosts[:number]))
        self.faults = draw_faults(
            self._rng.stream("faults"),
            hosts=len(hosts),
            count=faults,
            duration_s=FAULTS_S,
            joins=joins,
        )

    def run(self) -> Outcome:
        """Raises AssertionError with the faults that were drawn, the state and the last packets."""
        cluster = self.cluster
        schedule(cluster, self.faults)
        self._schedule_writes()
        try:
            cluster.run_for(FAULTS_S)
            end_faults(cluster)
            settled_s = cluster.run_until(
                lambda: settled(cluster), within_s=SETTLE_WITHIN_S, every_s=_SETTLE_EVERY_S
            )
            check_frames(cluster, self._rng.stream("frames"))
            self._check_kept()
        except Exception as error:
            error.add_note("\n  ".join(["unsettled:", *unsettled(cluster)]))
            error.add_note("\n  ".join(["faults:", *map(repr, self.faults)]))
            raise
        return Outcome(cluster.trace.digest, round(settled_s, 1), len(cluster.trace))

    def _schedule_writes(self) -> None:
        """Everybody writes to one set now and then, whatever happens meanwhile."""
        draw = self._rng.stream("writes").draw
        for number in range(WRITES):
            host = draw.choice(self.cluster.hosts)
            self.cluster.clock.call_after(
                draw.uniform(0.0, FAULTS_S), functools.partial(self._write, host, number)
            )

    def _write(self, host: Host, number: int) -> None:
        if host.up:
            opened, element = host.channel(CHANNEL, OrSet), f"element {number}"
            ticket = host.update(opened, OrSet.add, element)
            self._written.append((host.name, opened, ticket, element))

    def _check_kept(self) -> None:
        """What was acknowledged is there, unless its writer's disk was lost or set back.

        Raises AssertionError.
        """
        hosts = [host for host in self.cluster.hosts if host.up]
        present = set(hosts[0].channel(CHANNEL, OrSet).value)
        names = {host.name for host in hosts if not host.was_set_back}
        for writer, opened, ticket, element in self._written:
            if writer in names and opened.kept >= ticket:
                assert element in present, f"{element} of {writer.short} was kept, and is lost"


def run_seed(seed: int) -> Outcome:
    """`Scenario.run` of one seed, in one call for other processes."""
    return Scenario(seed).run()


def settled(cluster: Cluster) -> bool:
    """All that are up agree, and are right, about who is there and how to get there."""
    return next(_complaints(cluster), None) is None


def unsettled(cluster: Cluster) -> list[str]:
    """What `settled` still misses, one line each."""
    return list(_complaints(cluster))


def check_frames(cluster: Cluster, rng: SeededRng, count: int = _FRAMES) -> None:
    """Frames really pass: every host's broadcast to all, then unicast between random pairs.

    Raises AssertionError.
    """
    hosts = [host for host in cluster.hosts if host.up]
    for number, host in enumerate(hosts):
        frame = _frame(_BROADCAST, _mac(number), rng)
        _deliver(cluster, host, [other for other in hosts if other is not host], frame)
    for _ in range(count):
        source, to = rng.draw.sample(range(len(hosts)), 2)
        frame = _frame(_mac(to), _mac(source), rng)
        _deliver(cluster, hosts[source], [hosts[to]], frame)
        seen_by = [host.nickname for host in hosts if frame in host.frames]
        assert seen_by == [hosts[to].nickname], f"a frame to one reached {seen_by}"


def _complaints(cluster: Cluster) -> Iterator[str]:
    hosts = [host for host in cluster.hosts if host.up]
    if not hosts:
        return  # Nobody is there to disagree.
    names = {host.name: host.nickname for host in hosts}
    # Everybody reaches everybody, directly or through others.
    for host in hosts:
        for missing in sorted(names.keys() - {host.name} - host.peers):
            yield f"{host.nickname} has no session with {names[missing]}"
        relayed = {
            PeerName.parse(row["peer"])
            for row in host.engine.reports.connections()
            if row["path"] == "relay"
        }
        for peer in sorted(relayed & set(host.engine.links.by_peer)):
            yield f"{host.nickname} goes through others to {names.get(peer, peer)}, its neighbour"
        for stranger in sorted(host.peers - names.keys()):
            yield f"{host.nickname} has a session with {stranger}, which is not there"
    # Links stand at both ends, and each route is the best of those that the links allow.
    links = {host.name: set(host.engine.links.by_peer) for host in hosts}
    for host in hosts:
        for other in sorted(links[host.name]):
            if host.name not in links.get(other, ()):
                yield f"{host.nickname} has a link to {names.get(other, other)}, which has none"
    yield from _bad_routes(hosts)
    yield from _differing(hosts)
    # What is known of all peers is the same everywhere.
    first = _known(hosts[0])
    for host in hosts[1:]:
        if _known(host) != first:
            yield f"{host.nickname} knows other peers, or other of them, than {hosts[0].nickname}"
    for host in hosts:
        announced = {PeerName.parse(link["name"]) for link in _own_row(host)["connections"]}
        if announced != links[host.name]:
            yield f"{host.nickname} announces other links than it has"


def _differing(hosts: list[Host]) -> Iterator[str]:
    """Who holds other replicated state than the first, or shows another value of it."""
    first = hosts[0]
    wanted = set(first.channel(CHANNEL, OrSet).value)
    for host in hosts[1:]:
        if host.engine.gossip.replica.index.digest != first.engine.gossip.replica.index.digest:
            yield f"{host.nickname} holds other fragments than {first.nickname}"
        if set(host.channel(CHANNEL, OrSet).value) != wanted:
            yield f"{host.nickname} shows another set than {first.nickname}"


def _bad_routes(hosts: list[Host]) -> Iterator[str]:
    """Routes that are not the best, not alike in both directions, or lead in a circle."""
    announced = {host.name: _announced_costs(host) for host in hosts}
    names = {host.name: host.nickname for host in hosts}
    routes = {host.name: host.engine.routes() for host in hosts}
    for host in hosts:
        if (wanted := slow_routes(host.name, announced)) != (found := routes[host.name]):
            yield f"{host.nickname} has routes that are not the best: {found} for {wanted}"
        for peer, route in sorted(routes[host.name].items()):
            back = routes.get(peer, {}).get(host.name)
            if back is None or (back.cost, back.hops) != (route.cost, route.hops):
                yield f"{host.nickname} pays {route} to {names.get(peer, peer)}, and back {back}"
            passed, at = {host.name}, route.via
            while at != peer and at not in passed and peer in routes.get(at, ()):
                passed.add(at)
                at = routes[at][peer].via
            if at != peer:
                yield f"{host.nickname} goes in a circle to {names.get(peer, peer)}"


def _announced_costs(host: Host) -> Mapping[PeerName, int]:
    fragment = host.engine.gossip.replica.get(TOPOLOGY, host.name)
    assert fragment is not None, "everybody says something of itself"
    return read_record(host.name, fragment.head.public_key, dict(fragment.tree)).costs


def _known(host: Host) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """What a host's report says of every peer, without what depends on where it stands."""
    return sorted(
        (
            row["name"],
            row["nickname"],
            [(link["name"], link["established"]) for link in row["connections"]],
        )
        for row in host.engine.reports.peers(host.cluster.now)
    )


def _own_row(host: Host) -> PeerReport:
    [row] = [
        row for row in host.engine.reports.peers(host.cluster.now) if row["name"] == str(host.name)
    ]
    return row


def _deliver(cluster: Cluster, source: Host, hosts: list[Host], frame: bytes) -> None:
    def arrived() -> bool:
        return all(frame in host.frames for host in hosts)

    for tries_left in reversed(range(_FRAME_TRIES)):
        source.send(frame)
        try:
            cluster.run_until(arrived, within_s=_FRAME_WITHIN_S, every_s=0.01)
            return
        except AssertionError as error:
            if not tries_left:
                missing = [host.nickname for host in hosts if frame not in host.frames]
                error.add_note(f"a frame of {source.nickname} did not reach {missing}")
                raise


def _mac(number: int) -> bytes:
    """A unicast, locally administered address."""
    return b"\x02" + number.to_bytes(5, "big")


def _frame(to: bytes, source: bytes, rng: SeededRng) -> bytes:
    return to + source + _EXPERIMENTAL + rng(46)
