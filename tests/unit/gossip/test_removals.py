"""Removals by themselves: bytes, signatures, bounds; and what a gossip machine does by them."""

from __future__ import annotations

import pytest

from meshnet.errors import AuthenticationError, DropReason
from meshnet.gossip import removals
from meshnet.gossip.events import Ignored, Removed, WrittenElsewhere
from meshnet.gossip.fragments import HEAD_BYTES, Fragment, sign_fragment
from meshnet.gossip.messages import pack_announcement
from meshnet.gossip.removals import (
    REMOVAL_KEPT_S,
    Removal,
    Removals,
    pack_removal,
    parse_removal,
    sign_removal,
    verify_removal,
)
from meshnet.gossip.tree import Tree
from meshnet.ids import PeerName
from meshnet.wire.crypto import SIGNATURE_BYTES
from meshnet.wire.cursor import MalformedError
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, IDENTITIES, Net
from support.samples import ALICE, BOB, CAROL, NETWORK_ID, flip, identity

ONE = CHANNELS[0]


def fragment(who: Identity = CAROL, sequence: int = 1, value: bytes = b"value") -> Fragment:
    tree = Tree.of([(b"key", value)])
    return sign_fragment(who, NETWORK_ID, ONE, tree, incarnation=1, sequence=sequence)


def removal(by: Identity = ALICE, of: Identity = CAROL, sequence: int = 1) -> Removal:
    return sign_removal(by, NETWORK_ID, ONE, fragment(of, sequence).head)


def test_a_removal_survives_the_wire_and_says_who_removes_whom() -> None:
    ours = removal()
    packed = pack_removal(ours)
    assert len(packed) == 1 + 3 + 1 + 6 + HEAD_BYTES + 32 + SIGNATURE_BYTES
    assert parse_removal(packed) == ours
    assert (ours.by, ours.key) == (ALICE.name, (ONE, CAROL.name))
    assert not ours.is_farewell
    assert removal(by=CAROL).is_farewell
    verify_removal(ours, NETWORK_ID)


@pytest.mark.parametrize("cut", [0, 1, 100, 200, -1])
def test_a_removal_cut_off_or_too_long_is_malformed(cut: int) -> None:
    packed = pack_removal(removal())
    with pytest.raises(MalformedError):
        parse_removal(packed[:cut])
    with pytest.raises(MalformedError):
        parse_removal(packed + b"\0")


def test_a_removal_is_signed_with_its_network_channel_and_head() -> None:
    ours = removal()
    others = (
        ours.replaced(signature=flip(ours.signature, 7)),
        ours.replaced(remover_key=BOB.public_key),
        ours.replaced(channel=CHANNELS[1]),
        ours.replaced(head=fragment(CAROL, 2).head),
    )
    for other in others:
        with pytest.raises(AuthenticationError):
            verify_removal(other, NETWORK_ID)
    with pytest.raises(AuthenticationError):
        verify_removal(ours, b"another!")


def test_removals_are_bounded_and_forgotten() -> None:
    held = Removals()
    several = [removal(of=identity(number)) for number in range(3)]
    for at, one in enumerate(several):
        held.hold(one, float(at))
    assert len(held) == 3
    assert held.covering(ONE, several[0].head) == several[0]
    assert held.covering(CHANNELS[1], several[0].head) is None
    assert held.covering(ONE, fragment(identity(0), 2).head) is None
    held.expire(REMOVAL_KEPT_S + 0.5)
    assert list(held) == several[1:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removals, "MAX_REMOVALS", 2)
        held.hold(several[0], 3.0)
    assert list(held) == [several[2], several[0]]


class Pair:
    """One gossip machine, ``us``, and a neighbour of it, played by hand."""

    def __init__(self) -> None:
        self.net = Net(2)
        self.us, self.them = self.net.nodes
        self.node = self.net.nodes[self.us]
        self.net.link(self.us, self.them)
        self.net.run()
        self.net.sent.clear()

    def hold(self, held: Fragment) -> None:
        self.node.publish(ONE, held)
        self.net.watch(self.us)

    def say(self, said: Removal) -> None:
        self.node.receive(self.them, MessageType.REMOVAL, pack_removal(said), self.net.now)
        self.net.watch(self.us)

    def told(self) -> list[tuple[MessageType, bytes]]:
        self.net.collect(self.us)
        return [(kind, body) for _, _, kind, body in self.net.sent]

    def reasons(self) -> list[DropReason]:
        return [e.reason for e in self.net.events[self.us] if isinstance(e, Ignored)]

    def holds(self, writer: PeerName) -> bool:
        return self.net.held(self.us, writer) is not None


def test_what_is_removed_goes_with_the_digest_and_names_the_remover() -> None:
    pair = Pair()
    before = pair.node.replica.index.digest
    pair.hold(fragment())
    pair.say(removal(by=BOB))
    assert not pair.holds(CAROL.name)
    assert pair.node.replica.index.digest == before
    [removed] = [e for e in pair.net.events[pair.us] if isinstance(e, Removed)]
    assert (removed.writer, removed.by) == (CAROL.name, BOB.name)


def test_who_still_brings_what_was_removed_is_told_so() -> None:
    pair = Pair()
    pair.hold(fragment(sequence=3))
    gone = removal(by=BOB, sequence=3)
    pair.say(gone)
    for sequence in (1, 3):
        body = pack_announcement(ONE, fragment(sequence=sequence).head)
        pair.node.receive(pair.them, MessageType.DELTA, body, 0.0)
        assert (MessageType.REMOVAL, pack_removal(gone)) in pair.told()
        pair.net.sent.clear()
    body = pack_announcement(ONE, fragment(sequence=4).head)
    pair.node.receive(pair.them, MessageType.DELTA, body, 0.0)
    assert [kind for kind, _ in pair.told()] == [MessageType.WANT]


def test_what_was_written_after_the_removal_stays_and_is_told_in_return() -> None:
    pair = Pair()
    pair.hold(fragment(sequence=5))
    pair.say(removal(by=BOB, sequence=4))
    assert pair.holds(CAROL.name)
    assert MessageType.DELTA in [kind for kind, _ in pair.told()]


@pytest.mark.parametrize("broken", ["signature", "head"])
def test_a_removal_that_is_not_signed_removes_nothing(broken: str) -> None:
    pair = Pair()
    pair.hold(fragment(sequence=1))
    forged = removal(by=BOB, sequence=2)
    if broken == "signature":
        forged = forged.replaced(signature=flip(forged.signature, 3))
    else:
        # To be able to void what is to come would need the writer's own signature under it.
        raw = forged.head.raw[:40] + bytes((0, *b"\xff" * 7)) + forged.head.raw[48:]
        forged = parse_removal(pack_removal(forged).replace(forged.head.raw, raw))
    pair.say(forged)
    assert pair.holds(CAROL.name)
    assert pair.reasons() == [DropReason.BAD_FRAGMENT]


def test_a_removal_of_what_nobody_here_has_is_neither_remembered_nor_passed_on() -> None:
    pair = Pair()
    for number in range(50):
        pair.say(removal(of=identity(number)))
    assert not pair.node.removals
    assert pair.told() == []


def test_only_itself_removes_who_is_there() -> None:
    pair = Pair()
    them = IDENTITIES[1]
    assert them.name == pair.them
    pair.hold(fragment(them))
    pair.say(removal(by=CAROL, of=them))
    assert pair.holds(them.name)
    assert pair.reasons() == [DropReason.NOT_GONE]
    pair.say(removal(by=them, of=them))
    assert not pair.holds(them.name)
    # Though it is still linked, so alive, its farewell counts on.
    pair.node.revive()
    assert len(pair.node.removals) == 1


def test_who_left_for_good_and_is_back_with_an_older_disk_writes_above_its_farewell() -> None:
    pair = Pair()
    us = IDENTITIES[0]
    assert us.name == pair.us
    pair.hold(fragment(us, 1))
    pair.say(removal(by=us, of=us, sequence=9))
    assert pair.holds(us.name)
    [elsewhere] = [e for e in pair.net.events[pair.us] if isinstance(e, WrittenElsewhere)]
    assert elsewhere.fragment.head.sequence == 10
    assert elsewhere.fragment.tree.digest == fragment(us, 1).tree.digest


def test_others_cannot_remove_what_is_ours() -> None:
    pair = Pair()
    pair.hold(fragment(IDENTITIES[0]))
    pair.say(removal(by=CAROL, of=IDENTITIES[0]))
    assert pair.holds(pair.us)
    assert pair.reasons() == [DropReason.NOT_GONE]
