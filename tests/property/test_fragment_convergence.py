"""Peers that got the same fragments, in whatever order and however often, hold the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fragments import pack_channel
from meshnet.ids import PeerName
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.records import TOPOLOGY, UNKNOWN, fragment, head_of
from support.samples import ALICE, BOB, CAROL, NETWORK_ID, identity

READER, CARRIER = identity(8), identity(9)
CHANNELS = [TOPOLOGY, UNKNOWN]
FRAGMENTS = st.builds(
    lambda who, incarnation, sequence, entries, channel: fragment(
        who, entries, incarnation=incarnation, sequence=sequence, channel=channel
    ),
    st.sampled_from([ALICE, BOB, CAROL]),
    st.integers(0, 1),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from([b"a", b"b"]), st.sampled_from([b"", b"x"])),
    st.sampled_from(CHANNELS),
)


def gossip_of(who: Identity) -> Gossip:
    return Gossip(
        who,
        NETWORK_ID,
        incarnation=1,
        first_sequence=0,
        told_by_writer=lambda _writer, _peer: False,
        is_alive=lambda _peer: True,
    )


def reader_of(bodies: list[bytes]) -> Gossip:
    reader = gossip_of(READER)
    reader.neighbour_up(CARRIER.name)
    for body in bodies:
        reader.receive(CARRIER.name, MessageType.DELTA, body, 0.0)
    return reader


@given(st.data(), st.lists(FRAGMENTS, max_size=12))
def test_any_order_and_repetition_ends_in_the_same_state(
    data: st.DataObject, bodies: list[bytes]
) -> None:
    shuffled = data.draw(st.permutations(bodies))
    repeated = data.draw(st.permutations(bodies + shuffled))
    digests = {reader_of(each).replica.index.digest for each in (bodies, shuffled, repeated)}
    assert len(digests) == 1


@given(st.lists(FRAGMENTS, max_size=12), st.lists(FRAGMENTS, max_size=12))
def test_passing_on_only_what_is_news_loses_nothing(here: list[bytes], there: list[bytes]) -> None:
    relay, far = reader_of(here), gossip_of(identity(7))
    relay.neighbour_up(far_name := identity(7).name)
    far.neighbour_up(READER.name)
    pass_all(relay, READER.name, far, far_name)
    for body in there:
        relay.receive(CARRIER.name, MessageType.DELTA, body, 0.0)
        pass_all(relay, READER.name, far, far_name)
    assert far.replica.index.digest == relay.replica.index.digest
    assert relay.replica.index.digest == reader_of(here + there).replica.index.digest


def pass_all(one: Gossip, one_name: PeerName, other: Gossip, other_name: PeerName) -> None:
    """Carry between the two until neither has anything to say."""
    said = True
    while said:
        said = False
        for sender, name, receiver, to in (
            (one, one_name, other, other_name),
            (other, other_name, one, one_name),
        ):
            for peer, kind, body in sender.messages_to_send():
                if peer == to:
                    receiver.receive(name, kind, body, 0.0)
                    said = True


@given(st.lists(FRAGMENTS, max_size=12))
def test_what_wins_is_greatest_in_the_total_order(bodies: list[bytes]) -> None:
    replica = reader_of(bodies).replica
    for channel in CHANNELS:
        heads = [
            head_of(body, channel) for body in bodies if body.startswith(pack_channel(channel))
        ]
        for writer, held in replica.channel(channel).items():
            assert held.head.order == max(head.order for head in heads if head.writer == writer)
        assert replica.channel(channel).keys() == {head.writer for head in heads}
