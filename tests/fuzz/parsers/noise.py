"""Any bytes in place of a handshake message give AuthenticationError, and spoil nothing.

The first byte chooses the message (pattern and turn); the next one says how the genuine
message is changed: replaced by the rest, or the rest laid over it by exclusive or from some place
on. Unchanged, it is read; what is refused leaves a state that still reads the genuine one.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from fuzz.plan import Plan
from meshnet.errors import AuthenticationError
from meshnet.wire import noise
from meshnet.wire.noise import HandshakeState, Pattern, Role
from support.samples import ALICE, BOB, OTHER_PSK, PSK

COVERS = (
    "meshnet.wire.noise:HandshakeState.read_message",
    "meshnet.wire.noise:HandshakeState.read_with_any",
    "meshnet.wire.noise:HandshakeState._read_keys",
    "meshnet.wire.noise:HandshakeState._read_payload",
    "meshnet.wire.noise:HandshakeState._decrypt_and_hash",
    "meshnet.wire.noise:CipherState.decrypt",
    "meshnet.wire.noise:_cut",
)

_PATTERNS = (noise.XX_PSK3, noise.IK_PSK2)
_PAYLOAD = b"what is said in it"
_REPLACE, _LAY_OVER = 0, 1


@define(frozen=True)
class _Turn:
    """A state that waits for a message, and that message."""

    state: HandshakeState
    message: bytes


def _turns(pattern: Pattern) -> Iterator[_Turn]:
    known = BOB.static.public if pattern.responder_static_known else None
    ends = (
        HandshakeState.start(
            pattern,
            Role.INITIATOR,
            static=ALICE.static,
            ephemeral_secret=b"\x0a" * 32,
            remote_static=known,
            prologue=b"fuzz",
            psk=PSK,
        ),
        HandshakeState.start(
            pattern,
            Role.RESPONDER,
            static=BOB.static,
            ephemeral_secret=b"\x0b" * 32,
            prologue=b"fuzz",
            psk=PSK,
        ),
    )
    for number in range(len(pattern.messages)):
        writer, reader = ends[number % 2], ends[1 - number % 2]
        message = writer.write_message(_PAYLOAD)
        yield _Turn(reader.copy(), message)
        reader.read_message(message)


_TURNS = [turn for pattern in _PATTERNS for turn in _turns(pattern)]
_FIRST_IS_CLEAR = len(_PAYLOAD) + noise.DH_BYTES


def check(data: bytes) -> None:
    plan = Plan(data)
    turn = _TURNS[plan.number() % len(_TURNS)]
    message = _changed(turn.message, plan)
    # The first message of XX has nothing to verify yet: it is e, and a payload in clear.
    unsealed = len(turn.message) == _FIRST_IS_CLEAR
    try:
        state, payload = _read(turn.state, message)
    except AuthenticationError:
        assert message != turn.message
    else:
        assert message == turn.message or unsealed
        assert payload == message[-len(payload) :] if unsealed else payload == _PAYLOAD
        assert state.on_last_message or state.finished or not turn.state.on_last_message
    _, payload = _read(turn.state, turn.message)
    assert payload == _PAYLOAD


def _read(state: HandshakeState, message: bytes) -> tuple[HandshakeState, bytes]:
    """As who holds the state reads, and may have to try again: on a copy."""
    if not state.on_last_message:
        tried = state.copy()
        return tried, tried.read_message(message)
    tried, payload = state.read_with_any((OTHER_PSK, PSK), message)
    # By its psk alone it is the same message.
    assert state.copy().read_message(message) == payload
    return tried, payload


def _changed(message: bytes, plan: Plan) -> bytes:
    if plan.number() % 2 == _REPLACE:
        return plan.rest()
    at = plan.number() % len(message)
    mask = plan.rest()[: len(message) - at]
    middle = bytes(a ^ b for a, b in zip(message[at:], mask, strict=False))
    return message[:at] + middle + message[at + len(middle) :]


def seeds() -> Iterator[bytes]:
    for number, turn in enumerate(_TURNS):
        yield bytes((number, _REPLACE)) + turn.message
        yield bytes((number, _REPLACE)) + turn.message[:31]
        yield bytes((number, _REPLACE)) + turn.message[:60]
        # A point of low order in place of e.
        yield bytes((number, _REPLACE)) + bytes(32) + turn.message[32:]
        yield bytes((number, _LAY_OVER, 0))
        yield bytes((number, _LAY_OVER, len(turn.message) - 1, 1))
        yield bytes((number, _LAY_OVER, 0, 1))
