"""How news spreads among many peers: ways to pass it on, compared on equal terms.

    python benchmarks/dissemination.py [PEERS ...]

Gossip machines and nothing else, on a random graph with 16 links each: no links, no engine, every
hop takes 10 to 30 ms. Counted is what a TCP segment would weigh on the wire: 52 bytes of headers,
18 for each sealed record, and a segment without content as its acknowledgement. The figures stand
in docs/decisions/0027.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from meshnet.gossip import spreading
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.neighbour import Neighbour
from meshnet.gossip.replica import FragmentId, Replica
from meshnet.gossip.spreading import Spreading
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, PeerName, network_id
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType

NETWORK = network_id("dissemination")
CHANNEL = ChannelId("names", "opaque")
DEGREE = 16
WRITERS = 10
HEADERS_BYTES = 52
RECORD_BYTES = 18

# A writer's entries, of which each change is one.
_FIRST = [(bytes((number,)), b"x" * 20) for number in range(30)]

Message = tuple[MessageType, bytes]


class Flooding(Spreading):
    """To every neighbour at once."""

    def pass_on(self, neighbour: Neighbour, key: FragmentId, now: float) -> None:  # noqa: ARG002
        neighbour.due[key] = None


class RandomSubset(Spreading):
    """At once to so many neighbours as the logarithm of the number of peers, drawn each time."""

    fan_out = 0
    draw = random.Random(1)

    def __init__(
        self, name: PeerName, replica: Replica, neighbours: dict[PeerName, Neighbour]
    ) -> None:
        super().__init__(name, replica, neighbours)
        self._chosen: tuple[FragmentId, int, frozenset[PeerName]] | None = None

    def told_twice(self, neighbour: Neighbour, writer: PeerName) -> None:
        pass

    def pass_on(self, neighbour: Neighbour, key: FragmentId, now: float) -> None:
        fragment = self._replica.get(*key)
        assert fragment is not None
        news = (key, fragment.head.sequence)
        if self._chosen is None or self._chosen[:2] != news:
            names = sorted(self._neighbours)
            chosen = self.draw.sample(names, min(self.fan_out, len(names)))
            self._chosen = (*news, frozenset(chosen))
        neighbour.eager = neighbour.peer in self._chosen[2]
        super().pass_on(neighbour, key, now)


class Way(NamedTuple):
    """A way of spreading. ``least_eager``: of `Spreading`."""

    name: str
    kind: Callable[..., Spreading]
    least_eager: int = 0


class Spread(NamedTuple):
    """What one change cost, and how fast it was. Counted per peer, acknowledgements included."""

    messages: float
    wire_bytes: float
    hops: int
    seconds: tuple[float, float, float]
    """Until half, 99 % and all knew it."""


class Crowd:
    """Peers under virtual time."""

    def __init__(self, peers: int, way: Way, seed: int) -> None:
        self.draw = random.Random(seed)
        self.now = 0.0
        self.messages = self.wire_bytes = 0
        self.names: list[PeerName] = []
        self.nodes: dict[PeerName, Gossip] = {}
        self._links: dict[PeerName, set[PeerName]] = {}
        self._queue: list[tuple[float, int, PeerName, PeerName, list[Message]]] = []
        self._serial = itertools.count()
        self._alarms: dict[PeerName, float] = {}
        self._arrived: dict[tuple[PeerName, PeerName], float] = {}
        self.known: dict[PeerName, tuple[float, int]] = {}
        """Who has the change that is followed: since when, and how many hops from its writer."""
        self._followed: tuple[PeerName, int] | None = None
        spreading.LEAST_EAGER = way.least_eager
        RandomSubset.fan_out = math.ceil(math.log2(peers)) + 1
        for number in range(peers):
            who = Identity.of_seed(number.to_bytes(4, "big") * 8)
            gossip = Gossip(
                who,
                NETWORK,
                incarnation=1,
                first_sequence=0,
                told_by_writer=lambda writer, peer: peer in self._links[writer],
                is_alive=lambda _peer: True,
            )
            gossip._spreading = way.kind(who.name, gossip.replica, gossip._neighbours)
            self.names.append(who.name)
            self.nodes[who.name] = gossip
            self._links[who.name] = set()
        for one, other in self._edges(peers):
            self._links[one].add(other)
            self._links[other].add(one)
            self.nodes[one].neighbour_up(other)
            self.nodes[other].neighbour_up(one)
        for name in self.names:
            self._drain(name)
        self.run_for(1.0)

    def _edges(self, peers: int) -> Iterator[tuple[PeerName, PeerName]]:
        """A union of random cycles."""
        seen: set[frozenset[PeerName]] = set()
        for _ in range(DEGREE // 2):
            ring = self.draw.sample(self.names, peers)
            for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
                if frozenset((one, other)) not in seen:
                    seen.add(frozenset((one, other)))
                    yield one, other

    def write(self, who: PeerName) -> None:
        node = self.nodes[who]
        mine = node.replica.get(CHANNEL, who)
        tree = mine.tree if mine is not None else Tree.of(_FIRST)
        tree = tree.updated([(bytes((self.draw.randrange(30),)), self.draw.randbytes(20))])
        self._publish(who, node, tree)

    def _publish(self, who: PeerName, node: Gossip, tree: Tree) -> None:
        fragment = node.sign(CHANNEL, tree)
        self._followed = (who, fragment.head.sequence)
        self.known = {who: (self.now, 0)}
        node.publish(CHANNEL, fragment)
        self._drain(who)

    def fail(self, share: float) -> None:
        """So many links break, whatever is on its way by them; what stays is found by comparing."""
        pairs = [(a, b) for a in self.names for b in sorted(self._links[a]) if a < b]
        for a, b in self.draw.sample(pairs, int(len(pairs) * share)):
            self._links[a].discard(b)
            self._links[b].discard(a)
            self.nodes[a].neighbour_down(b)
            self.nodes[b].neighbour_down(a)

    def run_for(self, duration_s: float) -> None:
        end = self.now + duration_s
        while self._queue and self._queue[0][0] <= end:
            self.now, _, source, to, messages = heapq.heappop(self._queue)
            if messages:
                self._deliver(source, to, messages)
            elif self._alarms.get(to) == self.now:
                del self._alarms[to]
                self.nodes[to].handle_timer(self.now)
                self._drain(to)
        self.now = end

    def _deliver(self, source: PeerName, to: PeerName, messages: list[Message]) -> None:
        if source not in self._links[to]:
            return
        self.wire_bytes += HEADERS_BYTES  # The acknowledgement.
        for kind, body in messages:
            self.nodes[to].receive(source, kind, body, self.now)
        if self._followed is not None and to not in self.known and source in self.known:
            writer, sequence = self._followed
            held = self.nodes[to].replica.get(CHANNEL, writer)
            if held is not None and held.head.sequence >= sequence:
                self.known[to] = (self.now, self.known[source][1] + 1)
        self._drain(to)

    def _drain(self, name: PeerName) -> None:
        node = self.nodes[name]
        written: dict[PeerName, list[Message]] = {}
        for to, kind, body in node.messages_to_send():
            written.setdefault(to, []).append((kind, body))
        while node.next_event() is not None:
            pass
        for to, messages in written.items():
            self.messages += len(messages)
            size = sum(RECORD_BYTES + 1 + len(body) for _, body in messages)
            self.wire_bytes += size + HEADERS_BYTES * math.ceil(size / 1448)
            at = self.now + self.draw.uniform(0.01, 0.03)
            at = max(at, self._arrived.get((name, to), 0.0))
            self._arrived[name, to] = at
            heapq.heappush(self._queue, (at, next(self._serial), name, to, messages))
        deadline = node.next_deadline()
        if deadline is not None and deadline < self._alarms.get(name, math.inf):
            self._alarms[name] = at = max(deadline, self.now)
            heapq.heappush(self._queue, (at, next(self._serial), name, name, []))

    def spread(self) -> Spread:
        """What the change that is followed has cost since the counters were zero."""
        peers = len(self.names)
        start = self.known[self._followed[0]][0] if self._followed else 0.0
        times = sorted(at - start for at, _ in self.known.values())
        times += [math.inf] * (peers - len(times))
        quantiles = tuple(times[math.ceil(peers * share) - 1] for share in (0.5, 0.99, 1.0))
        hops = max(hops for _, hops in self.known.values())
        messages, wire_bytes = self.messages / peers, self.wire_bytes / peers
        self.messages = self.wire_bytes = 0
        return Spread(messages, wire_bytes, hops, (quantiles[0], quantiles[1], quantiles[2]))


def measure(peers: int, way: Way, seed: int) -> None:
    crowd = Crowd(peers, way, seed)
    writers = crowd.draw.sample(crowd.names, WRITERS)
    for writer in writers:
        crowd.write(writer)
        crowd.run_for(3.0)
    crowd.spread()
    rows: list[Spread] = []
    for writer in writers:
        crowd.write(writer)
        crowd.run_for(5.0)
        rows.append(crowd.spread())
    show("one change at a time", way, peers, rows)
    for _ in range(10):
        for writer in writers:
            crowd.write(writer)
            crowd.run_for(0.02)
    crowd.run_for(5.0)
    last = crowd.spread()
    print(
        f"{'':24}{'100 in 2 s, each':24}{last.messages / 100:8.2f}{last.wire_bytes / 100:9.0f}"
        f"{'':6}{last.seconds[0]:7.2f}{last.seconds[1]:7.2f}{last.seconds[2]:7.2f}"
    )
    crowd.fail(0.3)
    rows = []
    for writer in writers[:5]:
        crowd.write(writer)
        crowd.run_for(5.0)
        rows.append(crowd.spread())
    show("30 % of links broken", way, peers, rows)


def show(what: str, way: Way, peers: int, rows: list[Spread]) -> None:
    def worst(number: int) -> float:
        return max(row.seconds[number] for row in rows)

    count = len(rows)
    print(
        f"{peers:5} {way.name:18}{what:24}{sum(r.messages for r in rows) / count:8.2f}"
        f"{sum(r.wire_bytes for r in rows) / count:9.0f}{max(r.hops for r in rows):6}"
        f"{worst(0):7.2f}{worst(1):7.2f}{worst(2):7.2f}",
        flush=True,
    )


WAYS = (
    Way("flooding", Flooding),
    Way("random subset", RandomSubset),
    Way("Plumtree", Spreading, 0),
    Way("at least 3 eager", Spreading, 3),
    Way("at least 4 eager", Spreading, 4),
    Way("at least 6 eager", Spreading, 6),
)

if __name__ == "__main__":
    print(f"{'peers':5} {'way':18}{'what':24}messages    bytes  hops    50 %   99 %  100 %")
    for count in [int(text) for text in sys.argv[1:]] or [100, 300, 1000]:
        for one_way in WAYS:
            measure(count, one_way, seed=1)
