"""How fragments spread between neighbours that are slow, gone, wrong or two of one name."""

from __future__ import annotations

from itertools import pairwise

import pytest

from meshnet.errors import DropReason
from meshnet.gossip import exchange, fetch, replica
from meshnet.gossip.events import Changed, Contradicted, Ignored, WrittenElsewhere
from meshnet.gossip.exchange import FETCH_PATIENCE_S, Gossip
from meshnet.gossip.fragments import (
    MAX_SEQUENCE,
    Fragment,
    Head,
    parse_head,
    sign_fragment,
)
from meshnet.gossip.messages import (
    Want,
    pack_announcement,
    pack_nodes,
    pack_want,
    parse_delta,
    parse_want,
)
from meshnet.gossip.neighbour import MAX_FETCHES
from meshnet.gossip.tree import EMPTY, EMPTY_DIGEST, Tree
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, IDENTITIES, Net
from support.records import UNKNOWN, announcement, delta, fragment, head_body, signed
from support.samples import CAROL, NETWORK_ID, flip, identity

ONE, TWO = CHANNELS
_WANT = MessageType.WANT
A, B, C = (who.name for who in IDENTITIES[:3])
BIG = Tree.of((b"key %d" % number, bytes(200)) for number in range(2000))


def line(peers: int = 3) -> Net:
    """Peers in a row, each linked to the next, with nothing left to say."""
    net = Net(peers, told_by_writer=lambda _writer, _peer: False)
    names = list(net.nodes)
    for a, b in pairwise(names):
        net.link(a, b)
    net.run()
    return net


def pair() -> Net:
    return line(2)


def kinds(net: Net, source: PeerName, to: PeerName) -> list[MessageType]:
    return [kind for a, b, kind, _ in net.sent if (a, b) == (source, to)]


def events_of(net: Net, who: PeerName, kind: type) -> list[object]:
    return [event for event in net.events[who] if isinstance(event, kind)]


def say(net: Net, a: PeerName, b: PeerName, kind: MessageType, body: bytes) -> None:
    """``a`` says something to ``b`` that a peer would not."""
    net.nodes[b].receive(a, kind, body, net.now)
    net.watch(b)


def absent(tree: Tree, *, sequence: int = 1, size_bytes: int | None = None) -> Head:
    """A head of Carol, who is not there, in channel one."""
    body = head_body(CAROL, tree, sequence=sequence, size_bytes=size_bytes)
    return parse_head(signed(CAROL, body, ONE))


def give(net: Net, who: PeerName, head: Head, tree: Tree) -> None:
    """``who`` has this from somewhere."""
    net.nodes[who].publish(ONE, Fragment(head, tree))
    net.watch(who)


# Telling.


def test_a_change_is_told_with_what_has_changed() -> None:
    net = pair()
    net.write(A, ONE, b"key", b"value")
    net.run()
    net.publish(A, BIG)
    net.run()
    net.sent.clear()
    net.write(A, ONE, b"key 7", b"another")
    net.write(A, ONE, b"key 8", None)
    net.run()
    [(_, _, kind, body)] = net.sent
    assert kind is MessageType.DELTA
    assert set(parse_delta(body).changes) == {(b"key 7", b"another"), (b"key 8", None)}
    assert net.nodes[A].replica.index.digest == net.nodes[B].replica.index.digest


def test_relays_pass_on_what_they_cannot_judge() -> None:
    net = line()
    net.publish(A, Tree.of([(b"\xff", b"of a later version")]), UNKNOWN)
    net.run()
    held = net.held(C, A, UNKNOWN)
    assert held is not None
    assert dict(held.tree) == {b"\xff": b"of a later version"}
    net.link(A, C)
    net.publish(A, BIG, UNKNOWN)
    net.run()
    assert {net.nodes[who].replica.index.digest for who in (A, B, C)} == {
        net.nodes[A].replica.index.digest
    }


def test_small_fragments_are_told_whole_and_big_ones_announced() -> None:
    for tree, expected in ((Tree.of([(b"key", b"value")]), 1), (BIG, 3)):
        net = pair()
        net.publish(A, tree)
        net.run()
        assert len({kind for *_, kind, _ in net.sent[-100:]} - {MessageType.DIGEST}) == expected
        held = net.held(B, A)
        assert held is not None
        assert held.tree.digest == tree.digest


def test_nothing_is_told_back_or_to_its_writer() -> None:
    net = line()
    net.sent.clear()
    net.write(A, ONE, b"key", b"value")
    net.run()
    assert [(a, b) for a, b, *_ in net.sent] == [(A, B), (B, C)]


def test_who_is_told_by_the_writer_is_not_told_again() -> None:
    net = Net(3, told_by_writer=lambda writer, peer: (writer, peer) == (A, C))
    for one, other in ((A, B), (B, C), (A, C)):
        net.link(one, other)
    net.run()
    net.sent.clear()
    net.write(A, ONE, b"key", b"value")
    net.run()
    # C was not promised that it tells B; that is one too many, and ends there.
    assert {(a, b) for a, b, *_ in net.sent} == {(A, B), (A, C), (C, B)}


def test_what_a_writer_was_to_tell_and_did_not_is_found_by_comparing() -> None:
    net = Net(3, told_by_writer=lambda _writer, _peer: True)
    net.link(A, B)
    net.link(B, C)
    net.run()
    net.write(A, ONE, b"key", b"value")
    net.run()
    assert net.held(C, A) is None
    net.compare()
    net.run()
    assert net.held(C, A) is not None


def test_one_turn_is_bounded_and_the_rest_follows() -> None:
    net = pair()
    net.publish(A, BIG)
    for number in range(20):
        who = identity(1000 + number)
        tree = Tree.of([(b"key", bytes(16_000))])
        signed_by = sign_fragment(who, NETWORK_ID, ONE, tree, incarnation=1, sequence=1)
        net.nodes[A].publish(ONE, signed_by)
    net.collect(A)
    assert net.sent_bytes < 2 * exchange.TURN_BYTES
    assert net.nodes[A].has_more_to_send
    net.run()
    assert not net.nodes[A].has_more_to_send
    assert net.nodes[B].replica.fragments == 21


def test_who_takes_no_more_is_told_nothing() -> None:
    net = pair()
    net.nodes[A].set_writable(B, False)
    net.write(A, ONE, b"key", b"value")
    net.compare()
    assert not net.nodes[A].has_more_to_send
    assert net.nodes[A].messages_to_send() == []
    net.nodes[A].set_writable(B, True)
    assert net.nodes[A].has_more_to_send


def test_strangers_are_not_heard() -> None:
    net = Net(2)
    say(net, A, B, MessageType.DELTA, b"\xff")
    net.nodes[A].set_writable(B, True)
    net.nodes[A].compare_with(B)
    net.nodes[A].neighbour_down(B)
    assert net.nodes[A].messages_to_send() == []


# Fetching.


def outstanding(net: Net, asker: PeerName, asked: PeerName) -> int:
    """Requests for fragments that nobody has answered yet, sent and queued ones."""
    wants = kinds(net, asker, asked).count(MessageType.WANT)
    answers = [
        body
        for a, b, kind, body in net.sent
        if (a, b) == (asked, asker)
        and (kind is MessageType.NODES or (kind is MessageType.DELTA and parse_delta(body).answers))
    ]
    return wants - len(answers)


def test_a_tree_that_moves_while_it_is_fetched_arrives_and_is_asked_for_once_at_a_time() -> None:
    net = pair()
    net.publish(A, BIG)
    net.sent.clear()
    for number in range(300):
        if net.turn() and number < 100:
            # Told as a change of what B does not have yet: it has to ask for this one, too.
            net.write(A, ONE, b"key %d" % number, b"another")
        assert outstanding(net, B, A) <= 1
    held, written = net.held(B, A), net.held(A, A)
    assert held is not None
    assert written is not None
    assert held.head == written.head
    answers = [parse_delta(body) for *_, kind, body in net.sent if kind is MessageType.DELTA]
    assert any(said.answers for said in answers)
    assert not events_of(net, B, Ignored)


def test_a_source_that_moved_on_to_what_we_refuse_is_left() -> None:
    net = pair()
    head = absent(BIG, sequence=2)
    say(net, A, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.collect(B)
    say(net, A, B, MessageType.DELTA, pack_announcement(ONE, absent(EMPTY), answers=True))
    # What it has now is older than what we were told of, but still news.
    net.queues[B, A].clear()
    net.collect(B)
    held = net.held(B, CAROL.name)
    assert held is None or held.head.sequence == 1
    assert not net.nodes[B].has_more_to_send


def test_a_source_that_does_not_have_it_any_more_is_left_and_not_blamed() -> None:
    net = line()
    head = absent(BIG)
    give(net, A, head, BIG)
    net.collect(A)
    net.deliver(A, B)
    net.remove(A, ONE, CAROL.name)
    net.run()
    assert net.held(B, CAROL.name) is None
    assert MessageType.NODES in kinds(net, A, B)
    # Whoever has it is asked instead, at once.
    net = line()
    for who in (A, C):
        give(net, who, head, BIG)
        net.collect(who)
        net.deliver(who, B)
    net.remove(A, ONE, CAROL.name)
    net.run()
    assert net.held(B, CAROL.name) is not None


def test_when_the_source_is_lost_others_are_asked() -> None:
    net = line()
    head = absent(BIG)
    for who in (A, C):
        give(net, who, head, BIG)
        net.collect(who)
        net.deliver(who, B)
    net.collect(B)
    assert [kinds(net, B, who).count(MessageType.WANT) for who in (A, C)] == [1, 0]
    net.unlink(A, B)
    net.run()
    held = net.held(B, CAROL.name)
    assert held is not None
    assert held.tree.digest == BIG.digest


def test_a_slow_source_is_left_after_a_while_and_not_before() -> None:
    net = line()
    head = absent(BIG)
    for who in (A, C):
        give(net, who, head, BIG)
    net.collect(A)
    net.collect(C)
    net.deliver(A, B)
    net.deliver(C, B)
    net.collect(B)
    net.queues[A, B].clear()
    net.now = FETCH_PATIENCE_S - 0.1
    say(net, C, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.collect(B)
    assert MessageType.WANT not in kinds(net, B, C)
    net.now = FETCH_PATIENCE_S + 0.1
    say(net, C, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.collect(B)
    assert MessageType.WANT in kinds(net, B, C), "while the slow one is still linked"
    net.run()
    assert net.held(B, CAROL.name) is not None


def test_who_gives_a_fragment_in_drops_hides_nothing() -> None:
    net = line()
    head = absent(BIG)
    give(net, C, head, BIG)
    net.queues[C, B].clear()
    say(net, A, B, MessageType.DELTA, announcement(head.raw, ONE))
    for second in range(1, 10):
        net.collect(B)
        for want in [parse_want(body) for kind, body in net.queues[B, A] if kind == _WANT]:
            path = want.paths[0]
            nodes = pack_nodes(want.tree, want.root, [(path, BIG.node_at(path))])
            say(net, A, B, MessageType.NODES, nodes)
        net.queues[B, A].clear()
        net.now = float(second)
        say(net, A, B, MessageType.DELTA, announcement(head.raw, ONE))
    say(net, C, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.collect(B)
    assert _WANT in kinds(net, B, C)
    net.run()
    assert net.held(B, CAROL.name) is not None


def test_a_delta_that_says_all_is_taken_though_somebody_is_being_asked() -> None:
    net = line()
    tree = Tree.of([(b"k", b"v")])
    head = absent(tree)
    say(net, A, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.collect(B)
    net.queues[B, A].clear()  # A never answers.
    say(net, C, B, MessageType.DELTA, delta(head.raw, {b"k": b"v"}, ONE))
    assert net.held(B, CAROL.name) is not None


def test_a_newer_head_costs_nothing_for_what_has_come_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "LOOK_NODES", 4)
    net = pair()
    head = absent(BIG)
    give(net, A, head, BIG)
    looked: list[str] = []
    look_for = fetch.Fetch._look_for

    def counted(self: fetch.Fetch, path: str, digest: bytes) -> None:
        looked.append(path)
        look_for(self, path, digest)

    monkeypatch.setattr(fetch.Fetch, "_look_for", counted)
    for _ in range(50):
        net.turn()
    came = len(net.nodes[B]._fetches[ONE, CAROL.name].fetch._nodes)
    assert came > 100
    looked.clear()
    for sequence in range(2, 12):
        say(net, A, B, MessageType.DELTA, announcement(absent(BIG, sequence=sequence).raw, ONE))
    assert len(looked) == 10, "a writer can sign heads faster than all that could be gone through"
    # It is gone through bit by bit, and what is not there is asked for.
    give(net, A, absent(BIG, sequence=11), BIG)
    net.sent.clear()
    net.run()
    held = net.held(B, CAROL.name)
    assert held is not None
    assert held.head.sequence == 11
    asked = [parse_want(body) for a, _, kind, body in net.sent if (a, kind) == (B, _WANT)]
    assert sum(len(want.paths) for want in asked) > 0


def test_a_late_answer_of_who_is_no_longer_asked_is_passed_over() -> None:
    net = line()
    head = absent(BIG)
    give(net, A, head, BIG)
    give(net, C, head, BIG)
    for who in (A, C):
        net.collect(who)
        net.deliver(who, B)
    net.collect(B)
    net.now = FETCH_PATIENCE_S + 1
    say(net, C, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.run()
    held = net.held(B, CAROL.name)
    assert held is not None
    assert len(events_of(net, B, Changed)) == 1


def test_a_delta_that_comes_first_ends_the_fetch() -> None:
    net = line()
    head = absent(BIG)
    give(net, A, head, BIG)
    net.collect(A)
    net.deliver(A, B)
    newer = absent(Tree.of([(b"k", b"v")]), sequence=2)
    say(net, C, B, MessageType.DELTA, delta(newer.raw, {b"k": b"v"}, ONE))
    net.sent.clear()
    net.run()
    held = net.held(B, CAROL.name)
    assert held is not None
    assert held.head == newer
    assert MessageType.WANT not in kinds(net, B, A), "what it was to bring is old"


def test_many_fragments_are_fetched_a_window_at_a_time() -> None:
    net = Net(2)
    for number in range(3 * MAX_FETCHES):
        who = identity(2000 + number)
        big = Tree.of([(b"%d" % n, bytes(1000)) for n in range(20)])
        net.nodes[A].publish(
            ONE, sign_fragment(who, NETWORK_ID, ONE, big, incarnation=1, sequence=1)
        )
    net.link(A, B)
    while net.turn():
        assert outstanding(net, B, A) <= MAX_FETCHES + 1
    assert net.nodes[B].replica.index.digest == net.nodes[A].replica.index.digest


# What is refused.


def test_a_wrongly_signed_head_is_laid_to_its_carrier_and_not_passed_on() -> None:
    net = line()
    forged = flip(absent(EMPTY).raw, 8 * 147)
    net.sent.clear()
    say(net, A, B, MessageType.DELTA, delta(forged, {}, ONE))
    net.run()
    [ignored] = events_of(net, B, Ignored)
    assert isinstance(ignored, Ignored)
    assert (ignored.carrier, ignored.reason) == (A, DropReason.BAD_FRAGMENT)
    assert net.sent == []


def test_what_cannot_be_a_fragment_is_refused_once_and_not_fetched_again() -> None:
    net = line()
    small = Tree.of([(b"k", b"v")])
    head = absent(small, size_bytes=small.size_bytes + 1)
    body = delta(head.raw, {b"k": b"v"}, ONE)
    say(net, A, B, MessageType.DELTA, body)
    net.collect(B)
    [want] = [parse_want(body) for _, to, kind, body in net.sent[-1:] if kind is MessageType.WANT]
    nodes = pack_nodes((ONE, CAROL.name), want.root, [("", small.root)])
    net.queues[B, A].clear()
    say(net, A, B, MessageType.NODES, nodes)
    [ignored] = events_of(net, B, Ignored)
    assert isinstance(ignored, Ignored)
    assert ignored.reason is DropReason.BAD_FRAGMENT
    assert CAROL.name.short in ignored.text
    net.sent.clear()
    for carrier in (A, C):
        say(net, carrier, B, MessageType.DELTA, body)
        say(net, carrier, B, MessageType.DELTA, announcement(head.raw, ONE))
    net.run()
    assert net.sent == []
    assert len(events_of(net, B, Ignored)) == 1
    # A later one that is good is taken.
    say(net, A, B, MessageType.DELTA, delta(absent(small, sequence=2).raw, {b"k": b"v"}, ONE))
    assert net.held(B, CAROL.name) is not None


def test_what_is_refused_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_REFUSED", 2)
    net = pair()
    for sequence in (1, 2, 3, 1):
        head = absent(EMPTY, sequence=sequence, size_bytes=1)
        say(net, A, B, MessageType.DELTA, announcement(head.raw, ONE))
    assert len(events_of(net, B, Ignored)) == 4
    head = absent(EMPTY, sequence=3, size_bytes=1)
    say(net, A, B, MessageType.DELTA, announcement(head.raw, ONE))
    assert len(events_of(net, B, Ignored)) == 4


def test_there_is_room_for_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "MAX_FRAGMENTS", 1)
    net = line()
    for who in (CAROL, identity(42)):
        say(net, A, B, MessageType.DELTA, fragment(who, {b"k": b"v"}, sequence=1, channel=ONE))
    [ignored] = events_of(net, B, Ignored)
    assert isinstance(ignored, Ignored)
    assert ignored.reason is DropReason.STATE_FULL
    assert ONE.name in ignored.text
    net.settle()
    assert net.held(C, CAROL.name) is not None
    assert net.held(C, identity(42).name) is None


def test_heads_alone_cannot_make_us_wait_for_more_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "MAX_FRAGMENTS", 10)
    net = pair()
    for number in range(30):
        body = head_body(identity(3000 + number), BIG, sequence=1)
        raw = signed(identity(3000 + number), body, ONE)
        say(net, A, B, MessageType.DELTA, announcement(raw, ONE))
    full = events_of(net, B, Ignored)
    assert len(full) == 20
    net.collect(B)
    assert kinds(net, B, A).count(MessageType.WANT) == 10


def test_parts_of_fragments_that_never_become_whole_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (replica, exchange):
        monkeypatch.setattr(module, "MAX_TOTAL_BYTES", BIG.size_bytes)
    net = pair()
    tree_of = {
        who.name: BIG.updated([(b"by", who.name)]) for who in map(identity, range(3000, 3010))
    }
    for number, tree in zip(range(3000, 3010), tree_of.values(), strict=True):
        # It says less than there is, which shows when all of it has come.
        body = head_body(identity(number), tree, sequence=1, size_bytes=BIG.size_bytes - 1000)
        say(net, A, B, MessageType.DELTA, announcement(signed(identity(number), body, ONE), ONE))
    for _ in range(1000):
        net.collect(B)
        while net.queues[B, A]:
            kind, body = net.queues[B, A].popleft()
            want = parse_want(body)
            assert kind is MessageType.WANT
            assert want.tree is not None
            tree = tree_of[want.tree[1]]
            # All but the last node, for ever.
            nodes = [(path, tree.node_at(path)) for path in want.paths if path[:2] != "ff"]
            if nodes:
                say(net, A, B, MessageType.NODES, pack_nodes(want.tree, want.root, nodes[:1]))
        if not net.nodes[B].has_more_to_send:
            break
    full = [ignored for ignored in events_of(net, B, Ignored) if isinstance(ignored, Ignored)]
    assert {ignored.reason for ignored in full} == {DropReason.STATE_FULL}
    assert net.nodes[B].coming_bytes <= 1.5 * BIG.size_bytes
    net.unlink(A, B)
    assert net.nodes[B].coming_bytes == 0


# Who is to blame on the link.


def test_forged_nodes_are_their_carriers_fault() -> None:
    net = pair()
    say(net, A, B, MessageType.DELTA, announcement(absent(BIG).raw, ONE))
    net.collect(B)
    forged = pack_nodes((ONE, CAROL.name), BIG.digest, [("", Tree.of([(b"x", b"")]).root)])
    with pytest.raises(MalformedError, match="digest"):
        say(net, A, B, MessageType.NODES, forged)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_has_its_size(size: int) -> None:
    with pytest.raises(MalformedError, match="digest"):
        say(pair(), A, B, MessageType.DIGEST, bytes(size))


def test_long_answers_that_were_not_asked_for_are_not_kept() -> None:
    net = pair()
    head = absent(BIG)
    say(net, A, B, MessageType.DELTA, pack_announcement(ONE, head))
    unasked = pack_nodes(
        (ONE, CAROL.name), head.root, [(f"{n:02x}", BIG.node_at(f"{n:02x}")) for n in range(60)]
    )
    say(net, A, B, MessageType.NODES, unasked)
    assert not net.nodes[B]._neighbours[A].unread
    net.collect(B)
    assert kinds(net, B, A)[-1] is _WANT, "it is fetched as ever"


def test_more_requests_than_answers_are_waited_for_are_too_many() -> None:
    net = pair()
    want = pack_want(Want(None, EMPTY_DIGEST, ("",)))
    for _ in range(2 * MAX_FETCHES + 1):
        say(net, A, B, MessageType.WANT, want)
    with pytest.raises(MalformedError, match="requests"):
        say(net, A, B, MessageType.WANT, want)
    net.collect(B)
    say(net, A, B, MessageType.WANT, want)


def walking(net: Net) -> None:
    """B has asked A for the root of its index, and A has not answered."""
    say(net, A, B, MessageType.DIGEST, bytes(range(32)))
    net.collect(B)
    net.queues[B, A].clear()


def test_answers_about_the_index_that_were_not_asked_for_are_malformed() -> None:
    net = pair()
    walking(net)
    with pytest.raises(MalformedError, match="not asked for"):
        say(net, A, B, MessageType.NODES, pack_nodes(None, EMPTY_DIGEST, [("0", None)]))
    net = pair()
    walking(net)
    with pytest.raises(MalformedError, match="without nodes"):
        say(net, A, B, MessageType.NODES, pack_nodes(None, EMPTY_DIGEST, ()))
    net = pair()
    say(net, A, B, MessageType.NODES, pack_nodes(None, EMPTY_DIGEST, [("0", None)]))
    assert not net.nodes[B].has_more_to_send, "nothing was asked at all"


def test_an_endless_index_is_malformed_before_it_has_cost_much() -> None:
    net = pair()
    walking(net)
    inner = b"\1\xff\xff" + b"".join(bytes((n,)) * 32 for n in range(16))
    told = [1]

    def tell(paths: tuple[str, ...]) -> tuple[str, ...]:
        """Each wanted node has sixteen below it; gives what is wanted next."""
        nodes = b"".join(
            bytes((len(path),)) + bytes.fromhex(path + "0" * (len(path) % 2)) + inner
            for path in paths
        )
        told.append(len(paths))
        say(net, A, B, MessageType.NODES, bytes(33) + bytes((len(paths),)) + nodes)
        while not net.queues[B, A]:
            net.collect(B)
            net.watch(B)
        return parse_want(net.queues[B, A].pop()[1]).paths

    def tell_for_ever() -> None:
        paths: tuple[str, ...] = ("",)
        while True:
            paths = tell(paths)

    with pytest.raises(MalformedError, match="deeper"):
        tell_for_ever()
    assert 16 * sum(told) < 65 * 64 * 16


# Comparing.


def test_a_state_of_many_is_walked_to_what_differs() -> None:
    net = Net(2)
    for number in range(300):
        who = identity(4000 + number)
        each = sign_fragment(who, NETWORK_ID, ONE, EMPTY, incarnation=1, sequence=1)
        for node in net.nodes.values():
            node.publish(ONE, each)
    give(net, A, absent(EMPTY), EMPTY)
    net.link(A, B)
    net.run()
    assert net.held(B, CAROL.name) is not None
    assert net.sent_bytes < 10_000


def test_each_end_gets_what_the_other_has() -> None:
    net = Net(2)
    give(net, A, absent(EMPTY), EMPTY)
    other = sign_fragment(identity(42), NETWORK_ID, TWO, BIG, incarnation=1, sequence=1)
    net.nodes[B].publish(TWO, other)
    net.link(A, B)
    net.run()
    assert net.nodes[A].replica.index.digest == net.nodes[B].replica.index.digest
    assert net.nodes[A].replica.fragments == 2


# One writer in two places.


def contradicting() -> tuple[Fragment, Fragment]:
    """Two contents of Carol under one number; the second wins."""
    trees = [Tree.of([(b"key", value)]) for value in (b"1", b"2")]
    lesser, greater = sorted(trees, key=lambda tree: tree.digest)
    return Fragment(absent(lesser), lesser), Fragment(absent(greater), greater)


@pytest.mark.parametrize("turned", [False, True])
def test_two_contents_under_one_number_have_one_winner_everywhere_and_are_told_of(
    turned: bool,
) -> None:
    net = line(4)
    lesser, greater = contradicting()
    at = list(net.nodes)
    first, last = (at[-1], at[0]) if turned else (at[0], at[-1])
    give(net, first, *(lesser.head, lesser.tree))
    give(net, last, *(greater.head, greater.tree))
    net.run()
    for name in at:
        held = net.held(name, CAROL.name)
        assert held is not None
        assert held.head == greater.head
    told = {name for name in at if Contradicted(ONE, CAROL.name) in net.events[name]}
    assert told, "who met both says so"


def test_who_brings_the_lesser_of_two_contents_is_told_the_greater() -> None:
    net = pair()
    lesser, greater = contradicting()
    give(net, B, greater.head, greater.tree)
    say(net, A, B, MessageType.DELTA, delta(lesser.head.raw, dict(lesser.tree), ONE))
    assert net.events[B][-1] == Contradicted(ONE, CAROL.name)
    net.run()
    held = net.held(A, CAROL.name)
    assert held is not None
    assert held.head == greater.head


def test_a_forged_contradiction_is_none() -> None:
    net = pair()
    lesser, greater = contradicting()
    give(net, B, greater.head, greater.tree)
    forged = flip(lesser.head.raw, 8 * 147)
    say(net, A, B, MessageType.DELTA, delta(forged, dict(lesser.tree), ONE))
    assert not events_of(net, B, Contradicted)
    assert len(events_of(net, B, Ignored)) == 1


def test_a_later_fragment_of_ours_is_told_of_and_not_held() -> None:
    net = pair()
    net.write(B, ONE, b"key", b"value")
    net.run()
    elsewhere = sign_fragment(IDENTITIES[1], NETWORK_ID, ONE, EMPTY, incarnation=1, sequence=900)
    say(net, A, B, MessageType.DELTA, delta(elsewhere.head.raw, {}, ONE))
    [event] = events_of(net, B, WrittenElsewhere)
    assert event == WrittenElsewhere(ONE, Fragment(elsewhere.head, EMPTY))
    held = net.held(B, B)
    assert held is not None
    assert dict(held.tree) == {b"key": b"value"}
    # What we write next outdoes it.
    net.write(B, ONE, b"key", b"again")
    net.run()
    held = net.held(A, B)
    assert held is not None
    assert (held.head.sequence, dict(held.tree)) == (901, {b"key": b"again"})


def test_our_fragment_of_another_life_is_gone_above_when_we_have_none_yet() -> None:
    net = pair()
    elsewhere = sign_fragment(IDENTITIES[1], NETWORK_ID, ONE, BIG, incarnation=7, sequence=900)
    give(net, A, elsewhere.head, BIG)
    net.settle()
    assert events_of(net, B, WrittenElsewhere)
    net.write(B, ONE, b"key", b"value")
    net.settle()
    held = net.held(A, B)
    assert held is not None
    assert held.head.sequence == 901


def test_an_own_fragment_that_is_older_is_no_news() -> None:
    net = pair()
    older = sign_fragment(IDENTITIES[1], NETWORK_ID, ONE, EMPTY, incarnation=1, sequence=1)
    for value in (b"1", b"2"):
        net.write(B, ONE, b"key", value)
    net.run()
    say(net, A, B, MessageType.DELTA, delta(older.head.raw, {}, ONE))
    assert not events_of(net, B, WrittenElsewhere)


def test_after_the_last_number_nothing_breaks() -> None:
    node = Gossip(
        IDENTITIES[0],
        NETWORK_ID,
        incarnation=1,
        first_sequence=0,
        told_by_writer=lambda _writer, _peer: False,
        is_alive=lambda _peer: True,
    )
    node.go_above(ONE, MAX_SEQUENCE)
    for _ in range(2):
        assert node.sign(ONE, EMPTY).head.sequence == MAX_SEQUENCE


def test_sequences_rise_within_a_life_and_over_lives() -> None:
    for first in (0, 2**40):
        node = Gossip(
            IDENTITIES[0],
            NETWORK_ID,
            incarnation=1,
            first_sequence=first,
            told_by_writer=lambda _writer, _peer: False,
            is_alive=lambda _peer: True,
        )
        assert [node.sign(ONE, EMPTY).head.sequence for _ in range(2)] == [first + 1, first + 2]
        assert node.sign(TWO, EMPTY).head.sequence == first + 1, "each channel counts by itself"
