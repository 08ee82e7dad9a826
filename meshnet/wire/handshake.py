"""The data-session handshake: Noise IKpsk2 in two datagrams (wire.md section 4).

The initiator knows the responder's key from its signed record. The first message carries a strictly
rising stamp, so a recorded one can never be answered twice; the responder keeps no state that
a stranger could make it keep, since it answers members only and holds one such session per peer.
What stands before the Noise message, and is judged before it is read: `meshnet.wire.cookies`.
No key is used by the responder before the first datagram sealed with it arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define

from meshnet.errors import AuthenticationError
from meshnet.ids import PeerName, Remote
from meshnet.values import Value
from meshnet.wire import cookies, noise
from meshnet.wire.ciphers import CIPHERS, CipherId, choose
from meshnet.wire.cursor import Cursor, MalformedError
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, HEADER_BYTES, MAC_BYTES, DatagramType
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, KeyLife
from meshnet.wire.session import Session

# From wire.md section 4: capabilities of a session. Both ends must set one for it to count.
CLEAR_FRAMES = 1 << 0

# Outer header, mac, proof, e, sealed s, sealed payload without its list of ciphers.
MIN_INITIATION_BYTES = (
    HEADER_BYTES
    + MAC_BYTES
    + COOKIE_BYTES
    + noise.DH_BYTES
    + (noise.DH_BYTES + noise.TAG_BYTES)
    + (8 + 4 + 4 + 1 + noise.TAG_BYTES)
)


class Initiation(Value, secret=("_state",)):
    """The first message, read and verified as far as a responder can without the psk."""

    static: bytes
    stamp: int
    sender_index: int
    capabilities: int
    ciphers: tuple[int, ...]
    _state: noise.HandshakeState

    def answer(
        self,
        *,
        peer: PeerName,
        our_index: int,
        preference: Sequence[CipherId],
        capabilities: int,
        psk: bytes,
        remote: Remote,
        now: float,
        key_life: KeyLife = DEFAULT_KEY_LIFE,
    ) -> tuple[bytes, Session]:
        """(the response datagram, our unconfirmed session).

        Raises AuthenticationError when there is no common cipher or a key is degenerate.
        """
        chosen = choose(self.ciphers, preference)
        if chosen is None:
            raise AuthenticationError("no common cipher")
        state = self._state
        state.psk = psk
        payload = our_index.to_bytes(4, "big") + capabilities.to_bytes(4, "big") + bytes((chosen,))
        header = HEADER.pack(DatagramType.RESPONSE, 0, 0, self.sender_index, 0)
        datagram = header + state.write_message(payload)
        indexes = our_index, self.sender_index
        return datagram, _session(state, peer, indexes, chosen, remote, now, key_life)


@define(eq=False, repr=False)
class PendingHandshake:
    """The initiator's side between its message and the answer."""

    peer: PeerName
    our_index: int
    remote: Remote
    sent_at: float
    datagram: bytes
    _offered: tuple[CipherId, ...]
    _state: noise.HandshakeState
    _key_life: KeyLife
    capabilities: int
    """What we offered; after `finish`, what both ends have."""

    def finish(self, datagram: bytes, psks: Iterable[bytes], now: float) -> Session:
        """The session, ready to send. The state stays usable for a genuine answer after a forged.

        Raises AuthenticationError when the answer is forged, or made with none of ``psks``.
        """
        state, payload = self._state.read_with_any(psks, datagram[HEADER_BYTES:])
        try:
            cursor = Cursor(payload)
            their_index, capabilities = cursor.read_u32(), cursor.read_u32()
            chosen = cursor.read_u8()
        except MalformedError as error:
            raise AuthenticationError(str(error)) from error
        if chosen not in self._offered:
            raise AuthenticationError(f"cipher {chosen} was not offered")
        self.capabilities &= capabilities
        indexes, cipher_id = (self.our_index, their_index), CipherId(chosen)
        return _session(state, self.peer, indexes, cipher_id, self.remote, now, self._key_life)


def initiate(
    identity: Identity,
    network_id: bytes,
    *,
    peer: PeerName,
    their_static: bytes,
    our_index: int,
    stamp: int,
    ciphers: tuple[CipherId, ...],
    capabilities: int,
    ephemeral_secret: bytes,
    remote: Remote,
    now: float,
    key_life: KeyLife = DEFAULT_KEY_LIFE,
) -> PendingHandshake:
    """Start a handshake; send its ``datagram`` to ``remote``.

    Raises AuthenticationError when ``their_static`` is a degenerate key.
    """
    state = noise.HandshakeState.start(
        noise.IK_PSK2,
        noise.Role.INITIATOR,
        prologue=_prologue(network_id),
        static=identity.static,
        ephemeral_secret=ephemeral_secret,
        remote_static=their_static,
    )
    payload = (
        stamp.to_bytes(8, "big")
        + our_index.to_bytes(4, "big")
        + capabilities.to_bytes(4, "big")
        + bytes((len(ciphers), *ciphers))
    )
    header = HEADER.pack(DatagramType.INITIATION, 0, 0, our_index, 0)
    datagram = cookies.mark(header, state.write_message(payload), their_static)
    return PendingHandshake(
        peer, our_index, remote, now, datagram, ciphers, state, key_life, capabilities
    )


def read_initiation(
    identity: Identity, network_id: bytes, datagram: bytes, ephemeral_secret: bytes
) -> Initiation:
    """Read a first message. Whether its marks are good, and its static key and stamp may be
    answered, is the caller's to judge.

    Raises AuthenticationError when it is not for us, forged, or malformed.
    """
    if len(datagram) < MIN_INITIATION_BYTES:
        # Before any key is touched: a stranger's short datagram costs next to nothing.
        raise AuthenticationError("initiation too short")
    state = noise.HandshakeState.start(
        noise.IK_PSK2,
        noise.Role.RESPONDER,
        prologue=_prologue(network_id),
        static=identity.static,
        ephemeral_secret=ephemeral_secret,
    )
    payload = state.read_message(datagram[HEADER_BYTES + MAC_BYTES + COOKIE_BYTES :])
    try:
        cursor = Cursor(payload)
        stamp, index, capabilities = cursor.read_u64(), cursor.read_u32(), cursor.read_u32()
        ciphers = tuple(cursor.read_bytes(cursor.read_u8()))
    except MalformedError as error:
        raise AuthenticationError(str(error)) from error
    assert state.remote_static is not None, "the first message of IK carries it"
    return Initiation(state.remote_static, stamp, index, capabilities, ciphers, state)


def _prologue(network_id: bytes) -> bytes:
    return b"meshnet data" + network_id


def _session(
    state: noise.HandshakeState,
    peer: PeerName,
    indexes: tuple[int, int],
    cipher_id: CipherId,
    remote: Remote,
    now: float,
    key_life: KeyLife,
) -> Session:
    split = state.split()
    cipher = CIPHERS[cipher_id]
    # A cipher with a shorter key takes the front of the 32 bytes; each is used by one cipher only.
    return Session(
        peer,
        *indexes,
        cipher,
        split.send_key[: cipher.key_bytes],
        split.receive_key[: cipher.key_bytes],
        remote,
        now,
        key_life=key_life,
    )
