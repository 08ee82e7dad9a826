"""Whatever arrives on a link raises RemoteProtocolError or nothing, and authenticates nobody else.

The first byte chooses who listens and what the rest is: a stream from a stranger; what a stranger
who has the password claims in its handshake; or what a member does on an established link, who
seals whatever it likes, answers renewals of keys or lets time pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.wire import noise
from meshnet.wire.identity import Identity
from meshnet.wire.link import (
    HEADER_BYTES,
    MAX_HANDSHAKE_FRAME_BYTES,
    FrameKind,
    LinkProtocol,
    LinkState,
)
from support.link_pair import (
    End,
    HandDialler,
    byte_by_byte,
    frame,
    hello,
    linked,
    payload_of,
    pump,
)
from support.samples import ALICE, BOB, CAROL, OTHER_PSK, PSK, link_config

COVERS = tuple(
    f"meshnet.wire.link:LinkProtocol.{name}"
    for name in (
        *("receive", "keep_fresh", "_advance", "_read_hello", "_next_frame", "_on_frame"),
        *("_on_close", "_on_handshake", "_on_record", "_on_rekey", "_answer_rekey"),
        *("_finish_rekey", "_parse_payload"),
    )
)

_LISTENER, _DIALLER = 0, 1
_STREAM, _CLAIM, _MEMBER = 0, 2, 4
_SEAL, _RAW, _WAIT, _REKEY, _ANSWER, _FLUSH, _PSKS = range(7)
_WAIT_UNIT_S = 5.0


def check(data: bytes) -> None:
    plan = Plan(data)
    kind = plan.number()
    if kind & _MEMBER:
        _member(plan, dialler=bool(kind & _DIALLER))
    elif kind & _CLAIM:
        _claim(plan.rest())
    else:
        _stream(plan.rest(), dialler=bool(kind & _DIALLER))


def _stream(data: bytes, *, dialler: bool) -> None:
    ends = []
    for cut in (lambda whole: [whole], byte_by_byte):
        end = End.dialler(link_config(BOB)) if dialler else End.listener(link_config(BOB))
        said = [end.protocol.data_to_send()]
        for part in cut(data):
            end.receive(part)  # Lets nothing but RemoteProtocolError pass.
            said.append(end.protocol.data_to_send())
        assert end.authenticated == []
        assert end.records == []
        assert all(not closed.authenticated for closed in end.closed)
        assert dialler or not b"".join(said) or data.startswith(hello()[:8])
        # What a stranger makes us hold.
        assert len(end.protocol._buffer) <= MAX_HANDSHAKE_FRAME_BYTES + HEADER_BYTES
        ends.append((end.events, str(end.error), b"".join(said), end.protocol.state))
    assert ends[0] == ends[1], "it depends on the cut"


def _claim(payload: bytes) -> None:
    listener = End.listener(link_config(BOB))
    HandDialler(CAROL).meet(listener, payload)
    if listener.error is None:
        [who] = listener.authenticated
        assert (who.peer, who.public_key) == (CAROL.name, CAROL.public_key)
    else:
        assert listener.authenticated == []


class _Hand:
    """The member's end: a protocol of ours, and its keys to seal with what that never would."""

    def __init__(self, *, dialler: bool) -> None:
        one, other = linked(link_config(ALICE), link_config(BOB))
        # ``dialler``: the role of the end under test.
        self.tested, self.end = (one, other) if dialler else (other, one)
        self.now = 0.0
        self.before = list(self.tested.authenticated)

    def seal(self, kind: int, body: bytes) -> None:
        protocol: LinkProtocol = self.end.protocol
        send = protocol._send
        if send is None:
            return
        header = (len(body) + noise.TAG_BYTES + 1).to_bytes(2, "big") + bytes((kind,))
        self.give(header + send.encrypt(header, body))

    def give(self, data: bytes) -> None:
        self.tested.receive(data, self.now)

    def hear(self) -> None:
        """Open what the tested end says, as its peer does."""
        self.end.receive(self.tested.protocol.data_to_send(), self.now)


def _member(plan: Plan, *, dialler: bool) -> None:
    hand = _Hand(dialler=dialler)
    while not plan.over and hand.tested.error is None:
        _step(hand, plan)
    # It goes on being who it was, and a closed link says nothing more.
    assert hand.tested.authenticated == hand.before
    if hand.tested.error is not None:
        assert hand.tested.protocol.state is LinkState.CLOSED
        hand.tested.protocol.data_to_send()
        hand.give(b"more")
        assert hand.tested.protocol.data_to_send() == b""


def _step(hand: _Hand, plan: Plan) -> None:
    step = plan.number() % 7
    tested = hand.tested.protocol
    if step == _SEAL:
        hand.seal(plan.number(), plan.piece(2))
    elif step == _RAW:
        hand.give(plan.piece(2))
    elif step == _WAIT:
        hand.now += plan.number() * _WAIT_UNIT_S
        for end in (hand.tested, hand.end):
            end.protocol.keep_fresh(hand.now)
    elif step == _REKEY:
        # A renewal begun by hand, by whom the bytes say, whoever dialled.
        who = (ALICE, BOB, CAROL)[plan.number() % 3]
        hand.seal(FrameKind.REKEY, _renewal(hand.end.protocol, who, plan.piece()))
    elif step == _ANSWER:
        hand.hear()
        hand.give(hand.end.protocol.data_to_send())
    elif step == _FLUSH:
        pump(hand.tested, hand.end, now=hand.now)
    else:
        tested.use_psks(((PSK, OTHER_PSK)[plan.number() % 2],))


def _renewal(protocol: LinkProtocol, who: Identity, payload: bytes) -> bytes:
    """The first message of a renewal, of the other end of ``protocol``'s link."""
    state = noise.HandshakeState.start(
        noise.IK_PSK2,
        noise.Role.INITIATOR,
        prologue=b"meshnet link rekey" + protocol._handshake_hash,
        static=who.static,
        ephemeral_secret=b"\x0e" * 32,
        remote_static=protocol._their_static,
        psk=PSK,
    )
    return state.write_message(payload)


def _conversation(*, dialler: bool) -> bytes:
    """What a genuine end hears in a handshake."""
    one, other = End.dialler(link_config(ALICE)), End.listener(link_config(BOB))
    heard = b""
    while said := one.protocol.data_to_send():
        heard += b"" if dialler else said
        other.receive(said)
        back = other.protocol.data_to_send()
        heard += back if dialler else b""
        one.receive(back)
    return heard


def seeds() -> Iterator[bytes]:
    for role in (_LISTENER, _DIALLER):
        start = bytes((_STREAM | role,))
        heard = _conversation(dialler=role == _DIALLER)
        yield start + heard[:-1]
        yield start + heard[:40]
        for text in (b"", b"GET / HTTP/1.1\r\n\r\n", hello(lowest=2, highest=9)):
            yield start + text
        yield start + hello(network=bytes(8))
        for kind in FrameKind:
            yield start + hello() + frame(kind, bytes((kind, 1, 1)))
        yield start + hello() + frame(FrameKind.CLOSE, b"\x01")
        yield start + hello() + frame(FrameKind.CLOSE, b"\xfe")
        yield start + hello() + b"\0\0"
        yield start + hello() + b"\xff\xff\1"
    for who, extra in ((CAROL, b""), (CAROL, b"later"), (ALICE, b"")):
        yield bytes((_CLAIM,)) + payload_of(who.public_key, extra=extra)
    yield bytes((_CLAIM,)) + payload_of(BOB.public_key)
    yield bytes((_CLAIM,)) + payload_of(bytes(32))
    yield bytes((_CLAIM,)) + b"short"
    for role in (_LISTENER, _DIALLER):
        start = bytes((_MEMBER | role,))
        renewal = bytes((_WAIT, 25)) + bytes((_FLUSH,))
        yield start + renewal + renewal
        yield start + bytes((_SEAL, FrameKind.RECORD)) + piece(b"a record", 2) + renewal
        yield start + bytes((_WAIT, 25, _ANSWER, _SEAL, FrameKind.REKEY)) + piece(b"", 2)
        yield start + bytes((_WAIT, 25, _SEAL, FrameKind.REKEY)) + piece(bytes(48), 2)
        yield start + bytes((_WAIT, 255, _RAW)) + piece(b"x", 2)
        for number in range(6):
            yield start + bytes((_SEAL, number)) + piece(b"\x0a", 2)
        yield start + bytes((_SEAL, FrameKind.CLOSE)) + piece(b"two", 2)
        for number in range(3):
            begun = bytes((_REKEY, number)) + piece(b"")
            yield start + begun + bytes((_SEAL, FrameKind.REKEY)) + piece(b"", 2)
            yield start + begun + begun
        yield start + bytes((_PSKS, 1)) + renewal
        yield start + bytes((_RAW,)) + piece(frame(FrameKind.RECORD, bytes(20)), 2)
    yield bytes((_MEMBER,)) + bytes((_SEAL, FrameKind.REKEY)) + piece(bytes(96), 2)
