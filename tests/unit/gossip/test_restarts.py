"""A peer that starts over and over leaves behind its last fragment, and the one before it."""

from __future__ import annotations

from meshnet.gossip.events import Changed
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fragments import SEQUENCES_PER_START
from meshnet.gossip.tree import Tree
from meshnet.ids import PeerName
from support.gossip_net import CHANNELS, IDENTITIES
from support.reach import objects_below
from support.samples import NETWORK_ID

ONE = CHANNELS[0]
LIVES = 1000


def life(number: int, peer: int = 0) -> Gossip:
    return Gossip(
        IDENTITIES[peer],
        NETWORK_ID,
        incarnation=1,
        first_sequence=number * SEQUENCES_PER_START,
        told_by_writer=lambda _writer, _peer: False,
        is_alive=lambda _peer: True,
    )


def exchange(one: Gossip, one_name: PeerName, other: Gossip, other_name: PeerName) -> None:
    """Until both have said all."""
    while True:
        said = one.messages_to_send(), other.messages_to_send()
        if not any(said):
            return
        for to, kind, body in said[0]:
            assert to == other_name
            other.receive(one_name, kind, body, 0.0)
        for _, kind, body in said[1]:
            one.receive(other_name, kind, body, 0.0)


def test_a_thousand_starts_leave_nothing_behind() -> None:
    a, b = (who.name for who in IDENTITIES[:2])
    stays = life(1, peer=1)
    held: list[int] = []
    for number in range(1, LIVES + 1):
        starts = life(number)
        stays.neighbour_up(a)
        starts.neighbour_up(b)
        starts.publish(ONE, starts.sign(ONE, Tree.of([(b"life", b"%8d" % number)])))
        exchange(starts, a, stays, b)
        while (event := stays.next_event()) is not None:
            assert isinstance(event, Changed)
        fragment = stays.replica.get(ONE, a)
        assert fragment is not None
        assert fragment.head.sequence // SEQUENCES_PER_START == number
        stays.neighbour_down(a)
        if number in (10, LIVES // 2, LIVES):
            held.append(
                objects_below(
                    (
                        stays.replica,
                        stays._superseded,
                        stays._fetches,
                        stays._neighbours,
                        stays._refused,
                        stays._recalled,
                    )
                )
            )
    assert max(held) - min(held) <= 0.05 * min(held), held
