"""Many peers that come within reach at once are called a few at a time."""

from __future__ import annotations

from itertools import pairwise

from meshnet.gossip.fragments import sign_fragment
from meshnet.gossip.messages import pack_delta
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import PeerName
from meshnet.peering.sessions import CALLS_AT_ONCE
from meshnet.topology.cost import HOP_COST
from meshnet.topology.records import TOPOLOGY, Description, record_entries
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.guest import Guest, engine_of
from support.samples import BOB, NETWORK_ID, identity

OTHERS = [identity(number) for number in range(100, 150)]


def tell(guest: Guest, who: Identity, *links: PeerName) -> None:
    """A peer record without addresses, linked to ``links``."""
    entries = record_entries(Description("", 1376, 0, 7, ()), dict.fromkeys(links, HOP_COST))
    tree = Tree.of(entries.items())
    head = sign_fragment(who, NETWORK_ID, TOPOLOGY, tree, incarnation=1, sequence=1)
    guest.say(MessageType.DELTA, pack_delta(TOPOLOGY, head, EMPTY))


def test_those_that_a_neighbour_leads_to_do_not_hold_up_frames() -> None:
    engine = engine_of(discovery=False, degree=len(OTHERS) + 1)
    guest = Guest(engine).dial()
    for other in OTHERS:
        tell(guest, other, BOB.name)
    tell(guest, BOB, engine.name, *(other.name for other in OTHERS))
    started = [engine.counters.handshakes_started]
    while (deadline := engine.next_deadline()) is not None and deadline <= guest.now + 1.6:
        engine.handle_timer(deadline)
        guest.drain()
        started.append(engine.counters.handshakes_started)
    assert started[-1] >= len(OTHERS), "each has its turn"
    steps = [after - before for before, after in pairwise(started)]
    assert max(steps) <= CALLS_AT_ONCE
