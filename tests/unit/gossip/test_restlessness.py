"""When peers look through each other's heads, and when they wait for what is on its way."""

from __future__ import annotations

from meshnet.gossip.exchange import Gossip
from meshnet.gossip.restlessness import CALM_AFTER_S, COMPARED_LATEST_S, Restlessness
from meshnet.ids import PeerName
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, IDENTITIES, Net

ONE = CHANNELS[0]
A, B, C = (who.name for who in IDENTITIES[:3])


def test_who_hears_nothing_new_compares_at_once() -> None:
    assert not Restlessness().puts_off(A, 5.0)


def test_a_comparison_waits_until_nothing_came_for_a_while() -> None:
    one = Restlessness()
    one.stir(1.0)
    assert one.puts_off(A, 1.5)
    one.stir(1.9)
    assert one.next_deadline() == 1.9 + CALM_AFTER_S
    assert one.pop_due(1.0 + CALM_AFTER_S) == []
    assert one.pop_due(1.9 + CALM_AFTER_S) == [A]
    assert one.next_deadline() is None


def test_news_without_end_does_not_put_it_off_for_ever() -> None:
    one = Restlessness()
    one.stir(0.0)
    assert one.puts_off(A, 0.0)
    now = 0.0
    while not one.pop_due(now):
        now += CALM_AFTER_S / 2
        one.stir(now)
        assert one.puts_off(A, now) or now >= COMPARED_LATEST_S
    assert COMPARED_LATEST_S <= now <= COMPARED_LATEST_S + CALM_AFTER_S


def test_who_is_gone_is_not_waited_for() -> None:
    one = Restlessness()
    one.stir(0.0)
    assert one.puts_off(A, 0.0)
    one.forget(A)
    assert one.next_deadline() is None


def _restless(*, is_reached: bool) -> Gossip:
    """B, which has just heard of something new, with a further neighbour C."""
    net = Net(3)
    net.link(A, B)
    net.run()
    net.write(A, ONE, b"key", b"value")
    while net.held(B, A) is None:
        net.turn()
    node = net.nodes[B]
    node.neighbour_up(C, is_reached=is_reached)
    list(node.messages_to_send())
    node.receive(C, MessageType.DIGEST, b"another".ljust(32), net.now)
    return node


def _asks(node: Gossip, peer: PeerName) -> bool:
    return any(to == peer and kind is MessageType.WANT for to, kind, _ in node.messages_to_send())


def test_who_was_reached_before_the_link_stood_is_compared_with_when_the_news_is_over() -> None:
    node = _restless(is_reached=True)
    assert not _asks(node, C)
    deadline = node.next_deadline()
    assert deadline is not None
    while not _asks(node, C):
        assert deadline is not None
        assert deadline <= CALM_AFTER_S
        node.handle_timer(deadline)
        deadline = node.next_deadline()


def test_who_comes_by_this_link_alone_is_compared_with_at_once() -> None:
    assert _asks(_restless(is_reached=False), C)
