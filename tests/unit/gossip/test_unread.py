"""Long answers are worked through bit by bit, and what is wrong with them is found all the same."""

from __future__ import annotations

import pytest

from meshnet.errors import CloseCode
from meshnet.gossip import exchange, messages
from meshnet.gossip.fetch import Fetch
from meshnet.gossip.fragments import Fragment, sign_fragment
from meshnet.gossip.messages import Entries, Nodes, Told, pack_nodes, parse_want
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.gossip.unread import SLICE_ENTRIES, UnreadNodes
from meshnet.ids import ChannelId
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, Net
from support.guest import Guest, engine_of
from support.records import announcement
from support.samples import CAROL, NETWORK_ID

ONE = CHANNELS[0]
LARGE = Tree.of((b"key %d" % number, b"value") for number in range(2000))


def carol(tree: Tree) -> Fragment:
    return sign_fragment(CAROL, NETWORK_ID, ONE, tree, incarnation=1, sequence=1)


def nodes(counts: list[int], *, heads: bool = False) -> UnreadNodes:
    told = ((f"{place:02x}", Entries(((b"k", b"v"),) * n)) for place, n in enumerate(counts))
    return UnreadNodes(Nodes(None if heads else (ONE, CAROL.name), bytes(32), tuple(told)))


def sizes(answer: UnreadNodes) -> list[int]:
    """How many entries each piece has, to the end."""
    pieces: list[int] = []
    while answer.left:
        piece: list[tuple[str, Told]] = answer.take()
        pieces.append(sum(len(told.entries) for _, told in piece if isinstance(told, Entries)))
    return pieces


def test_a_long_answer_is_taken_in_pieces_with_nothing_left_out() -> None:
    answer = nodes([20] * 30)
    assert answer.is_long
    taken = sizes(answer)
    assert sum(taken) == 600
    assert max(taken) <= SLICE_ENTRIES


def test_a_node_larger_than_a_piece_is_a_piece() -> None:
    assert sizes(nodes([1, SLICE_ENTRIES + 1, 1])) == [1, SLICE_ENTRIES + 1, 1]


def test_a_short_answer_is_one_piece() -> None:
    answer = nodes([20, 20])
    assert not answer.is_long
    assert sizes(answer) == [40]


def test_heads_take_longer_than_entries() -> None:
    assert nodes([2, 2, 2], heads=True).is_long
    assert len(sizes(nodes([2] * 12, heads=True))) > 5


def test_a_fetch_is_given_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    give = Fetch.give

    def counted(self: Fetch, told: list[tuple[str, Told]]) -> None:
        given.append(sum(len(one.entries) for _, one in told if isinstance(one, Entries)))
        give(self, told)

    monkeypatch.setattr(Fetch, "give", counted)
    net = Net(2)
    a, b = net.nodes
    net.nodes[a].publish(ONE, carol(LARGE))
    net.link(a, b)
    net.run()
    held = net.nodes[b].replica.get(ONE, CAROL.name)
    assert held is not None
    assert dict(held.tree) == dict(LARGE)
    assert sum(given) == len(LARGE)
    assert max(given) <= SLICE_ENTRIES


def test_a_lie_at_the_end_of_a_long_answer_ends_the_link_that_brought_it() -> None:
    who = Guest(engine_of())
    who.dial()
    who.say(MessageType.DELTA, announcement(carol(LARGE).head.raw, ONE))
    answered, lied = 0, False
    for _ in range(100):
        wants = [parse_want(body) for body in who.messages(MessageType.WANT)]
        wants = [want for want in wants if want.tree == (ONE, CAROL.name)]
        if len(wants) > answered and not lied:
            answered, want = len(wants), wants[-1]
            told = [(path, LARGE.node_at(path)) for path in want.paths]
            if lied := len(told) > 30:
                told[-1] = (told[-1][0], EMPTY.updated([(b"another", b"")]).root)
            who.say(MessageType.NODES, pack_nodes(want.tree, want.root, told))
            assert who.established(), "what is wrong has not been looked at yet"
        who.now += 0.001
        who.engine.handle_timer(who.now)
        who.drain()
    assert lied
    assert not who.established()
    assert who.end.learned is CloseCode.PROTOCOL_ERROR


def test_what_a_turn_tells_is_bounded_however_many_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(12, told_by_writer=lambda _writer, _peer: False)
    first, *others = net.nodes
    for other in others:
        net.link(first, other)
    net.run()
    change = Tree.of((b"key %d" % number, bytes(100)) for number in range(80))
    packed: list[Tree] = []
    pack_delta = messages.pack_delta

    def counted(channel: ChannelId, fragment: Fragment, base: Tree) -> bytes:
        packed.append(base)
        return pack_delta(channel, fragment, base)

    monkeypatch.setattr(exchange, "pack_delta", counted)
    node = net.nodes[first]
    node.publish(ONE, carol(change))
    told: list[object] = []
    turns = 0
    while turn := node.messages_to_send():
        assert sum(len(body) for _, _, body in turn[:-1]) < exchange.TURN_BYTES
        told += [peer for peer, kind, _ in turn if kind is MessageType.DELTA]
        turns += 1
    assert sorted(map(str, told)) == sorted(map(str, others)), "each once, nobody left out"
    assert turns >= 5
    assert packed == [EMPTY], "once for all who know as much"
