"""Whatever reaches an engine from outside: nothing raises, and what is good still works."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.wire.datagram import HEADER, DatagramType, PartType, pack_part
from meshnet.wire.messages import GOSSIP_MESSAGES, MessageType
from support.guest import Guest, engine_of
from support.records import entries_of, fragment
from support.samples import ALICE, BOB, BROADCAST, CAROL, endpoint, ethernet, mac

KINDS = st.sampled_from(DatagramType) | st.integers(0, 255)
INDEXES = st.sampled_from([0, 1, 0x600D]) | st.integers(0, 2**32 - 1)
HEADERS = st.builds(
    lambda kind, index, counter: HEADER.pack(kind, 0, 0, index, counter),
    KINDS,
    INDEXES,
    st.integers(0, 2**64 - 1),
)
DATAGRAMS = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda head, body: head + body, HEADERS, st.binary(max_size=200)),
)
FRAME = ethernet(BROADCAST, mac(1))


def linked() -> Guest:
    return Guest(engine_of()).dial()


@given(st.lists(DATAGRAMS, max_size=20))
def test_arbitrary_datagrams_are_counted_and_disturb_nothing(datagrams: list[bytes]) -> None:
    who = linked()
    session = who.open_session()
    who.frames.clear()
    for datagram in datagrams:
        who.give(datagram, endpoint(66))
    assert sum(who.drops.values()) == len(datagrams)
    who.give(session.seal(pack_part(PartType.FRAME, FRAME)))
    assert who.frames == [FRAME]
    assert who.established()


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_a_member_may_seal_whatever_it_likes(payloads: list[bytes]) -> None:
    who = linked()
    session = who.open_session()
    for payload in payloads:
        who.give(session.seal(payload))
    who.frames.clear()
    who.give(session.seal(pack_part(PartType.FRAME, FRAME)))
    assert who.frames == [FRAME]


@given(st.lists(st.binary(max_size=100) | st.just(FRAME), max_size=10))
def test_the_local_side_may_send_whatever_it_likes(frames: list[bytes]) -> None:
    who = linked()
    who.open_session()
    who.engine.receive_frames(frames, who.now)
    who.drain()
    carried = who.engine.counters.frames_sent
    assert carried + sum(who.drops.values()) <= len(frames)
    assert carried >= frames.count(FRAME)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_arbitrary_bytes_on_a_new_link_end_that_link_only(pieces: list[bytes]) -> None:
    who = linked()
    who.engine.link_opened(99, endpoint(9), None, who.now)
    for piece in pieces:
        who.engine.receive_link_bytes(99, piece, who.now)
        who.drain()
    who.say(MessageType.PING, b"12345678")
    assert who.messages(MessageType.PONG) == [b"12345678"]


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5))
def test_a_member_may_say_whatever_it_likes_on_its_link(records: list[bytes]) -> None:
    who = linked()
    other = who.beside(CAROL, at=endpoint(3)).dial()
    for record in records:
        if who.established():
            who.say_raw(record)
    other.say(MessageType.PING, b"12345678")
    assert other.messages(MessageType.PONG) == [b"12345678"]


@given(
    st.sampled_from([ALICE, BOB, CAROL]),
    st.integers(0, 2**64 - 2),
    st.binary(max_size=60),
    st.dictionaries(st.binary(max_size=20), st.binary(max_size=60), max_size=5),
)
def test_a_member_may_pass_on_whatever_anybody_signed(
    writer: object, sequence: int, trailing: bytes, entries: dict[bytes, bytes]
) -> None:
    who = linked()
    identity = {id(each): each for each in (ALICE, BOB, CAROL)}[id(writer)]
    for number, said in enumerate((entries_of(trailing=trailing), entries)):
        who.say(
            MessageType.DELTA,
            fragment(identity, said, sequence=min(sequence + number, 2**64 - 2)),
        )
    assert who.established()
    who.wait(30.0)


@given(st.lists(st.tuples(st.sampled_from(sorted(GOSSIP_MESSAGES)), st.binary(max_size=200))))
def test_arbitrary_gossip_of_a_member_ends_its_link_or_nothing(
    messages: list[tuple[MessageType, bytes]],
) -> None:
    who = linked()
    other = who.beside(CAROL, at=endpoint(3)).dial()
    for kind, body in messages:
        if who.established():
            who.say(kind, body)
    other.say(MessageType.PING, b"12345678")
    assert other.messages(MessageType.PONG) == [b"12345678"]
