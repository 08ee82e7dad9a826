"""Any body is a removal that packs to the same bytes and counts only as signed, or MalformedError.

It is given to a machine that holds what some of the seeds remove, too: only those do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from meshnet.errors import AuthenticationError
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fragments import Fragment, sign_fragment
from meshnet.gossip.removals import pack_removal, parse_removal, sign_removal, verify_removal
from meshnet.gossip.tree import EMPTY
from meshnet.ids import ChannelId
from meshnet.wire.cursor import MalformedError
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.samples import ALICE, BOB, CAROL, NETWORK_ID

COVERS = (
    "meshnet.gossip.removals:parse_removal",
    "meshnet.gossip.removals:pack_removal",
    "meshnet.gossip.removals:verify_removal",
    "meshnet.gossip.exchange:Gossip._receive_removal",
)

_CHANNEL = ChannelId("fuzz", "opaque")


def check(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        removal = parse_removal(data)
        assert pack_removal(removal) == data
        with contextlib.suppress(AuthenticationError):
            verify_removal(removal, NETWORK_ID)
            assert data in _SIGNED, "nobody signed that"
    _receive(data)


def _receive(data: bytes) -> None:
    """Alice holds what Bob, whom it sees, and Carol have written, and something of its own."""
    gossip = Gossip(
        ALICE,
        NETWORK_ID,
        incarnation=1,
        first_sequence=0,
        told_by_writer=lambda _writer, _peer: False,
        is_alive=lambda peer: peer in (ALICE.name, BOB.name),
    )
    gossip.neighbour_up(BOB.name)
    for who in (ALICE, BOB, CAROL):
        gossip.publish(_CHANNEL, _fragment(who, 2))
    with contextlib.suppress(MalformedError):
        gossip.receive(BOB.name, MessageType.REMOVAL, data, 0.0)
    assert gossip.replica.get(_CHANNEL, ALICE.name) is not None
    for who in (BOB, CAROL):
        removed = gossip.replica.get(_CHANNEL, who.name) is None
        assert removed == (data in _EFFECTIVE[who.name])
    gossip.messages_to_send()


def _fragment(who: Identity, sequence: int) -> Fragment:
    return sign_fragment(who, NETWORK_ID, _CHANNEL, EMPTY, incarnation=1, sequence=sequence)


def _packed(by: Identity, of: Identity, sequence: int, network: bytes = NETWORK_ID) -> bytes:
    return pack_removal(sign_removal(by, network, _CHANNEL, _fragment(of, sequence).head))


_ALL = {
    (by.name, of.name, sequence): _packed(by, of, sequence)
    for by in (ALICE, BOB, CAROL)
    for of in (ALICE, BOB, CAROL)
    for sequence in (1, 2, 3)
}
_SIGNED = frozenset(_ALL.values())
_EFFECTIVE = {
    CAROL.name: {p for (_, of, at), p in _ALL.items() if of == CAROL.name and at > 1},
    # Who is there is removed by itself alone.
    BOB.name: {p for (by, of, at), p in _ALL.items() if by == of == BOB.name and at > 1},
}


def seeds() -> Iterator[bytes]:
    yield from _ALL.values()
    whole = _packed(BOB, CAROL, 2)
    yield _packed(BOB, CAROL, 2, b"another!")
    yield whole[:-1]
    yield whole + b"\0"
    yield whole[:20]
    yield b""
