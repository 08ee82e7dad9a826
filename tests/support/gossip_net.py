"""Gossip machines and nothing else, joined by queues that a test turns by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from meshnet.gossip.events import Changed, GossipEvent, Malformed, Removed
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fragments import Fragment
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.wire.cursor import MalformedError
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.samples import NETWORK_ID

CHANNELS = [ChannelId("one", "opaque"), ChannelId("two", "opaque")]
IDENTITIES = [Identity.of_seed(bytes((7, number)) * 16) for number in range(30)]


class Net:
    """Ordered queues between ``peers`` peers; what is in one is lost when its link breaks."""

    def __init__(
        self,
        peers: int,
        told_by_writer: Callable[[PeerName, PeerName], bool] | None = None,
    ) -> None:
        self.nodes = {
            who.name: Gossip(
                who,
                NETWORK_ID,
                incarnation=1,
                first_sequence=0,
                told_by_writer=told_by_writer or self.told,
                is_alive=partial(self.sees, who.name),
            )
            for who in IDENTITIES[:peers]
        }
        self.queues: dict[tuple[PeerName, PeerName], deque[tuple[MessageType, bytes]]] = {}
        self.seen: dict[PeerName, dict[tuple[ChannelId, PeerName], dict[bytes, bytes]]] = {
            name: {} for name in self.nodes
        }
        self.events: dict[PeerName, list[GossipEvent]] = {name: [] for name in self.nodes}
        self.sent: list[tuple[PeerName, PeerName, MessageType, bytes]] = []
        self.now = 0.0

    @property
    def sent_bytes(self) -> int:
        return sum(len(body) + 1 for *_, body in self.sent)

    def told(self, writer: PeerName, peer: PeerName) -> bool:
        return (writer, peer) in self.queues

    def sees(self, who: PeerName, peer: PeerName) -> bool:
        """Whether there is a way between the two, as routes would say."""
        reached, frontier = {who}, [who]
        while frontier:
            one = frontier.pop()
            others = [b for a, b in self.queues if a == one and b not in reached]
            reached.update(others)
            frontier += others
        return peer in reached

    def link(self, a: PeerName, b: PeerName) -> None:
        if a != b and (a, b) not in self.queues:
            for one, other in ((a, b), (b, a)):
                self.queues[one, other] = deque()
                self.nodes[one].neighbour_up(other)
            for node in self.nodes.values():
                node.revive()

    def unlink(self, a: PeerName, b: PeerName) -> None:
        if (a, b) in self.queues:
            for one, other in ((a, b), (b, a)):
                del self.queues[one, other]
                self.nodes[one].neighbour_down(other)

    def publish(self, who: PeerName, tree: Tree, channel: ChannelId = CHANNELS[0]) -> None:
        node = self.nodes[who]
        node.publish(channel, node.sign(channel, tree))
        self.watch(who)

    def write(self, who: PeerName, channel: ChannelId, key: bytes, value: bytes | None) -> None:
        mine = self.nodes[who].replica.get(channel, who)
        tree = (mine.tree if mine is not None else EMPTY).updated([(key, value)])
        self.publish(who, tree, channel)

    def remove(self, who: PeerName, channel: ChannelId, writer: PeerName) -> None:
        self.nodes[who].replica.remove(channel, writer)
        self.seen[who].pop((channel, writer), None)

    def held(
        self, who: PeerName, writer: PeerName, channel: ChannelId = CHANNELS[0]
    ) -> Fragment | None:
        return self.nodes[who].replica.get(channel, writer)

    def collect(self, who: PeerName) -> None:
        for to, kind, body in self.nodes[who].messages_to_send():
            self.queues[who, to].append((kind, body))
            self.sent.append((who, to, kind, body))
        self.watch(who)

    def deliver(self, a: PeerName, b: PeerName) -> bool:
        queue = self.queues.get((a, b))
        if not queue:
            return False
        self.nodes[b].receive(a, *queue.popleft(), self.now)
        self.watch(b)
        return True

    def watch(self, who: PeerName) -> None:
        """What the events tell must be what is there."""
        while (event := self.nodes[who].next_event()) is not None:
            self.events[who].append(event)
            if isinstance(event, Malformed):
                raise MalformedError(event.text)  # As where it is found at once.
            if isinstance(event, Changed):
                seen = self.seen[who].setdefault((event.channel, event.writer), {})
                for key, before, now in event.now.changes_since(event.before):
                    assert seen.get(key) == before
                    if now is None:
                        del seen[key]
                    else:
                        seen[key] = now
            elif isinstance(event, Removed):
                seen = self.seen[who].pop((event.channel, event.writer))
                assert seen == dict(event.before)

    def turn(self) -> bool:
        """Everybody says what there is to say, and one message of each queue arrives."""
        for who in self.nodes:
            self.collect(who)
        delivered = [self.deliver(a, b) for a, b in list(self.queues)]
        return any(delivered) or any(node.has_more_to_send for node in self.nodes.values())

    def pass_time(self) -> bool:
        """Until somebody's timer is due; False: nobody has one."""
        deadlines = [at for n in self.nodes.values() if (at := n.next_deadline()) is not None]
        if not deadlines:
            return False
        self.now = max(self.now, min(deadlines))
        for who, node in self.nodes.items():
            node.handle_timer(self.now)
            self.watch(who)
        return True

    def run(self) -> None:
        """Until nobody has anything to say, now or later."""
        for _ in range(10_000):
            if not self.turn() and not self.pass_time():
                return
        raise AssertionError("they never stop talking")

    def settle(self) -> None:
        """All links take bytes again, and all neighbours compare."""
        for node in self.nodes.values():
            for peer in self.nodes:
                node.set_writable(peer, True)
        self.compare()
        self.run()

    def compare(self) -> None:
        for a, b in list(self.queues):
            self.nodes[a].compare_with(b)
