"""To whom news is told at once, to whom it is announced, and what becomes of that."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from meshnet.gossip import spreading
from meshnet.gossip.messages import (
    MAX_PLACES,
    Feed,
    Have,
    pack_feed,
    pack_have,
    parse_feed,
    parse_have,
    place_of,
)
from meshnet.gossip.spreading import CLAIM_PATIENCE_S, LEAST_EAGER, MAX_CLAIMS
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, IDENTITIES, Net

ONE = CHANNELS[0]
A, B, C, D = (who.name for who in IDENTITIES[:4])
_DELTA, _HAVE, _FEED = MessageType.DELTA, MessageType.HAVE, MessageType.FEED


def line(*names: PeerName) -> Net:
    """A row of peers, of which each has told its key once."""
    net = Net(len(names))
    for one, other in pairwise(names):
        net.link(one, other)
    for name in names:
        net.write(name, ONE, b"key", b"first")
    net.run()
    net.sent.clear()
    return net


def say(net: Net, a: PeerName, b: PeerName, kind: MessageType, body: bytes) -> None:
    net.nodes[b].receive(a, kind, body, net.now)
    net.watch(b)


def value(net: Net, who: PeerName, writer: PeerName) -> bytes | None:
    held = net.held(who, writer)
    return held.tree.get(b"key") if held is not None else None


def ways(net: Net, kind: MessageType) -> list[tuple[PeerName, PeerName]]:
    return [(a, b) for a, b, what, _ in net.sent if what is kind]


def test_who_does_not_want_to_be_told_is_announced_to_and_asks_for_what_it_lacks() -> None:
    net = line(A, B, C)
    say(net, C, B, _FEED, pack_feed(Feed(False, ())))
    start = net.now
    net.write(A, ONE, b"key", b"second")
    while net.turn():
        pass
    assert value(net, C, A) == b"first"
    net.run()
    assert value(net, C, A) == b"second"
    assert ways(net, _HAVE) == [(B, C)]
    assert ways(net, _FEED) == [(C, B)]
    assert net.now - start <= spreading.LAST_ANNOUNCED_S + CLAIM_PATIENCE_S
    # From then on it is told at once again.
    net.write(A, ONE, b"key", b"third")
    while net.turn():
        pass
    assert value(net, C, A) == b"third"


def test_many_changes_are_one_announcement_of_the_last() -> None:
    net = line(A, B, C)
    say(net, C, B, _FEED, pack_feed(Feed(False, ())))
    for number in range(20):
        net.write(A, ONE, b"key", b"%d" % number)
        while net.turn():
            pass
    net.pass_time()
    net.collect(B)
    [body] = [body for a, _, kind, body in net.sent if (a, kind) == (B, _HAVE)]
    held = net.held(A, A)
    assert held is not None
    assert parse_have(body) == Have(((place_of(ONE, A), held.head.sequence),))


def test_what_comes_meanwhile_is_neither_announced_nor_asked_for() -> None:
    """D is told by C; B, with which it agreed on announcements, need not say anything."""
    net = line(A, B, C, D)
    net.link(B, D)
    net.run()
    say(net, D, B, _FEED, pack_feed(Feed(False, ())))
    say(net, B, D, _FEED, pack_feed(Feed(False, ())))
    net.sent.clear()
    net.write(A, ONE, b"key", b"second")
    net.run()
    assert value(net, D, A) == b"second"
    assert len(ways(net, _HAVE)) == 1, "one end of the link, and the other saves it"
    assert not ways(net, _FEED)


def test_links_by_which_all_comes_twice_are_dropped_but_for_some() -> None:
    net = Net(len(IDENTITIES))
    names = list(net.nodes)
    for number, name in enumerate(names):
        for step in range(1, 8):
            net.link(name, names[(number + step) % len(names)])
    for times in range(30):
        net.write(names[times % len(names)], ONE, b"key", b"%d" % times)
        net.run()
    eager = Counter(
        sum(neighbour.eager for neighbour in node._neighbours.values())
        for node in net.nodes.values()
    )
    assert max(eager) < 14, f"of 14 links: {eager}"
    net.sent.clear()
    net.write(names[0], ONE, b"key", b"last")
    net.run()
    assert all(value(net, name, names[0]) == b"last" for name in names)
    twice = [way for way in ways(net, _DELTA) if way[1] not in net.nodes[names[0]]._neighbours]
    assert len(twice) <= (LEAST_EAGER + 2) * len(names)


def test_a_neighbour_of_the_writer_drops_no_link_for_what_comes_twice() -> None:
    net = Net(8)
    names = list(net.nodes)
    net.nodes[names[0]]._told_by_writer = lambda _writer, _peer: False
    for number, name in enumerate(names):
        for other in names[number + 1 :]:
            net.link(name, other)
    for times in range(10):
        net.write(names[0], ONE, b"key", b"%d" % times)
        net.run()
    assert not ways(net, _FEED)


def test_of_two_who_have_it_one_is_asked_and_then_the_other() -> None:
    net = line(A, B, C)
    claim = pack_have(Have(((b"nowhere!", 5),)))
    say(net, A, B, _HAVE, claim)
    say(net, C, B, _HAVE, claim)
    net.pass_time()
    net.collect(B)
    assert len(ways(net, _FEED)) == 1
    net.pass_time()
    net.collect(B)
    assert sorted(ways(net, _FEED)) == sorted([(B, A), (B, C)])
    net.run()
    assert len(ways(net, _FEED)) == 2, "nobody is asked for it again"


def test_who_announces_without_end_is_remembered_within_bounds() -> None:
    net = line(A, B)
    for batch in range(3 * MAX_CLAIMS // MAX_PLACES):
        places = [(b"%8d" % (batch * MAX_PLACES + n), 2**64 - 1) for n in range(MAX_PLACES)]
        say(net, A, B, _HAVE, pack_have(Have(tuple(places))))
    assert len(net.nodes[B]._neighbours[A].claims) == MAX_CLAIMS
    net.run()
    asked = [parse_feed(body) for *_, kind, body in net.sent if kind is _FEED]
    assert sum(len(feed.places) for feed in asked) == MAX_CLAIMS
    assert max(len(feed.places) for feed in asked) == MAX_PLACES
    assert not net.nodes[B]._neighbours[A].claims


def test_who_wants_what_nobody_has_or_what_it_has_is_told_nothing() -> None:
    net = line(A, B)
    wanted = (b"nowhere!", place_of(ONE, B), place_of(ONE, A))
    for _ in range(10):
        say(net, A, B, _FEED, pack_feed(Feed(True, wanted)))
    net.run()
    assert not net.sent


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (_HAVE, b""),
        (_HAVE, bytes(15)),
        (_HAVE, bytes(16 * (MAX_PLACES + 1))),
        (_FEED, b""),
        (_FEED, b"\x02"),
        (_FEED, b"\x01" + bytes(7)),
        (_FEED, b"\x01" + bytes(8 * (MAX_PLACES + 1))),
    ],
)
def test_what_no_peer_would_say_is_its_fault(kind: MessageType, body: bytes) -> None:
    net = line(A, B)
    with pytest.raises(MalformedError):
        net.nodes[B].receive(A, kind, body, net.now)


def test_what_somebody_announces_who_reads_nothing_takes_bounded_room() -> None:
    net = line(A, B)
    node = net.nodes[B]
    node.set_writable(A, False)
    neighbour = node._neighbours[A]
    for number in range(40):
        for turn in range(8):
            places = tuple(
                ((number * 8 + turn) * MAX_PLACES + n).to_bytes(8, "big") for n in range(MAX_PLACES)
            )
            have = Have(tuple((place, 1) for place in places))
            node.receive(A, _HAVE, pack_have(have), net.now)
        net.now += 2 * CLAIM_PATIENCE_S
        node.handle_timer(net.now)
        assert len(neighbour.claims) + len(neighbour.to_want) <= MAX_CLAIMS
    assert len(neighbour.to_want) == MAX_CLAIMS
