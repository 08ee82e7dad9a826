"""One link: hello, Noise XX with psk, sealed records; a sans-IO state machine over a byte stream.

Wire.md section 3. The dialler speaks first; a listener says nothing before it has read a hello that
is ours, so a port scanner learns nothing. A refusal in the open (`CloseCode` in clear) is only
believed before the first sealed record: later it could only be an attacker's.

Keys are renewed by a second handshake, Noise IK with psk, inside the sealed stream (section 3.6).
The dialler starts it, so the two ends never start at once; as the stream keeps its order, each
direction changes keys at one place in it, and nothing waits.

What may leave `LinkProtocol.receive`: `RemoteProtocolError`. Anything else is our bug.
"""

from __future__ import annotations

import enum
from collections import deque

from meshnet.errors import AuthenticationError, CloseCode, LocalProtocolError, RemoteProtocolError
from meshnet.ids import NETWORK_ID_BYTES, PeerName
from meshnet.ports import Rng
from meshnet.values import Value
from meshnet.wire import noise
from meshnet.wire.cursor import Cursor, MalformedError
from meshnet.wire.identity import Identity, name_of_static
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, KeyLife

# From wire.md section 3.
MAGIC = b"MESHNET\n"
VERSION = 1
HELLO_BYTES = len(MAGIC) + 4 + NETWORK_ID_BYTES
SIZE_BYTES = 2
HEADER_BYTES = SIZE_BYTES + 1
MAX_RECORD_BYTES = 65535 - noise.TAG_BYTES - 1

# Our choice: what a stranger can make us hold. Message 2, the longest, has 32 + 48 + 48 + 16 bytes.
MAX_HANDSHAKE_FRAME_BYTES = 1024
# Our choice, far below what the cipher allows (2^62, see ciphers.py): 256 TiB of full records.
REKEY_AFTER_FRAMES = 2**32
MAX_FRAMES = 2**33

KEYS_EXPIRED = "the keys of the link expired before they could be renewed"


class FrameKind(enum.IntEnum):
    """What a length-prefixed frame of the stream holds."""

    HANDSHAKE = 1
    CLOSE = 2
    RECORD = 3
    REKEY = 4


class LinkState(enum.Enum):
    HELLO = "hello"
    HANDSHAKE = "handshake"
    CONFIRMING = "confirming"
    """The dialler has sent its last message and waits for the first sealed record."""
    ESTABLISHED = "established"
    CLOSED = "closed"


class LinkConfig(Value, secret=("psks",)):
    """What every link of one peer has in common.

    Of ``psks`` the first is offered, all are accepted. ``life`` is random (u64) per process start.
    """

    identity: Identity
    network_id: bytes
    psks: tuple[bytes, ...]
    life: int = 0
    capabilities: int = 0
    key_life: KeyLife = DEFAULT_KEY_LIFE


class LinkAuthenticated(Value):
    """The other end has proved who it is, and knows the psk."""

    peer: PeerName
    public_key: bytes
    life: int
    capabilities: int
    serial: int


class RecordReceived(Value):
    plaintext: bytes


class LinkClosed(Value):
    """The other end closed, and said why. Unless ``authenticated``, anyone on path may say so."""

    code: CloseCode
    text: str
    authenticated: bool


LinkEvent = LinkAuthenticated | RecordReceived | LinkClosed


class LinkProtocol:
    """One end of one link. Feed `receive`, drain `next_event` and `data_to_send`, repeat.

    An established link also wants `keep_fresh` at its `next_deadline`. ``serial`` (u32) counts our
    dials: of two links that we dialled to one peer, it tells both ends which is the later.
    """

    def __init__(self, config: LinkConfig, *, dialler: bool, rng: Rng, serial: int = 0) -> None:
        self.state = LinkState.HELLO
        self.serial = serial
        self._config = config
        self._psks = config.psks
        self._dialler = dialler
        self._rng = rng
        self._buffer = bytearray()
        self._out = bytearray()
        self._events: deque[LinkEvent] = deque()
        self._handshake: noise.HandshakeState | None = None
        self._send: noise.CipherState | None = None
        self._receive: noise.CipherState | None = None
        self._next_receive: noise.CipherState | None = None
        """By a listener that has answered a renewal: the key that follows in their direction."""
        self._answered_at = 0.0
        self._unproved = False
        """By a listener: whether the dialler has yet to show that it has the renewed keys."""
        self._their_static = b""
        self._handshake_hash = b""
        self._rekey_at = self._expires_at = float("inf")
        self._authenticated: LinkAuthenticated
        if dialler:
            self._out += self._our_hello()

    def use_psks(self, psks: tuple[bytes, ...]) -> None:
        """Offer the first and accept all of them from the next handshake or renewal on."""
        self._psks = psks

    def next_deadline(self) -> float:
        """When `keep_fresh` has something to do; infinity before there are keys."""
        idle = self._dialler and self._handshake is None
        return self._rekey_at if idle else self._expires_at

    def keep_fresh(self, now: float) -> bool:
        """Renew the keys when it is time. False: they are too old, and the link has ended.

        Nothing is sent by old keys, so the other end is not told why.
        """
        if self._send is None or self._receive is None:
            return True
        frames = max(self._send.counter, self._receive.counter)
        if now >= self._expires_at or frames >= MAX_FRAMES:
            self.state = LinkState.CLOSED
            return False
        due = now >= self._rekey_at or frames >= REKEY_AFTER_FRAMES
        established = self.state is LinkState.ESTABLISHED
        if due and established and self._dialler and self._handshake is None:
            self._start_rekey()
        return True

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the stream, in any cut.

        Raises RemoteProtocolError; the link is then closed, `data_to_send` holds what may still be
        told to the other end, and events before the error can be drained.
        """
        if self.state is LinkState.CLOSED:
            return
        if not self.keep_fresh(now):
            raise RemoteProtocolError(KEYS_EXPIRED)
        self._buffer += data
        try:
            self._advance(now)
        except RemoteProtocolError as error:
            self.close(error.code)
            raise
        except (AuthenticationError, MalformedError) as error:
            self.close(CloseCode.PROTOCOL_ERROR)
            raise RemoteProtocolError(str(error)) from error

    def next_event(self) -> LinkEvent | None:
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    def send_record(self, plaintext: bytes) -> None:
        """Seal one record. Raises LocalProtocolError when the link is not established."""
        if self.state is not LinkState.ESTABLISHED or self._send is None:
            raise LocalProtocolError(f"no records on a link in state {self.state.value}")
        if len(plaintext) > MAX_RECORD_BYTES:
            raise LocalProtocolError(f"record of {len(plaintext)} bytes is too long")
        self._send_sealed(FrameKind.RECORD, plaintext)

    def close(self, code: CloseCode) -> None:
        """Tell the other end why, sealed when keys are agreed; nothing is received after."""
        if self.state is LinkState.CLOSED:
            return
        body = bytes((code,))
        if self._send is not None:
            self._send_sealed(FrameKind.CLOSE, body)
        elif self.state is not LinkState.HELLO or self._dialler:
            # A listener that has not seen a hello of ours says nothing to a stranger.
            self._out += _header(FrameKind.CLOSE, len(body)) + body
        self.state = LinkState.CLOSED

    def _our_hello(self) -> bytes:
        versions = bytes((VERSION, VERSION, 0, 0))
        return MAGIC + versions + self._config.network_id

    def _advance(self, now: float) -> None:
        if self.state is LinkState.HELLO and not self._read_hello():
            return
        while self.state is not LinkState.CLOSED and (frame := self._next_frame()) is not None:
            header, body = frame
            self._on_frame(header, body, now)

    def _read_hello(self) -> bool:
        got = bytes(self._buffer[:HELLO_BYTES])
        if not MAGIC.startswith(got[: len(MAGIC)]):
            raise RemoteProtocolError("not a meshnet peer (the first bytes are not a hello)")
        if len(got) < HELLO_BYTES:
            return False
        del self._buffer[:HELLO_BYTES]
        ours = self._our_hello()
        if not self._dialler:
            self._out += ours
        self.state = LinkState.HANDSHAKE
        cursor = Cursor(got)
        cursor.read_bytes(len(MAGIC))
        lowest, highest = cursor.read_u8(), cursor.read_u8()
        cursor.read_u16()
        if cursor.read_bytes(NETWORK_ID_BYTES) != self._config.network_id:
            raise RemoteProtocolError(CloseCode.OTHER_NETWORK.text, CloseCode.OTHER_NETWORK)
        if not lowest <= VERSION <= highest:
            raise RemoteProtocolError(
                f"{CloseCode.OTHER_VERSION.text}: theirs {lowest} to {highest}, ours {VERSION}",
                CloseCode.OTHER_VERSION,
            )
        hellos = ours + got if self._dialler else got + ours
        self._handshake = noise.HandshakeState.start(
            noise.XX_PSK3,
            noise.Role.INITIATOR if self._dialler else noise.Role.RESPONDER,
            # The hellos are in the prologue: who changes one in flight breaks the handshake.
            prologue=b"meshnet link" + hellos,
            static=self._config.identity.static,
            ephemeral_secret=self._rng(noise.DH_BYTES),
            psk=self._psks[0],
        )
        if self._dialler:
            self._send_handshake(self._handshake, b"")
        return True

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        if len(self._buffer) < SIZE_BYTES:
            return None
        size = int.from_bytes(self._buffer[:SIZE_BYTES], "big")
        if size < 1:
            raise RemoteProtocolError("empty frame on the link")
        trusted = self.state is LinkState.ESTABLISHED or self.state is LinkState.CONFIRMING
        if not trusted and size > MAX_HANDSHAKE_FRAME_BYTES:
            raise RemoteProtocolError(f"oversized handshake frame ({size} bytes)")
        if len(self._buffer) < SIZE_BYTES + size:
            return None
        header = bytes(self._buffer[:HEADER_BYTES])
        body = bytes(self._buffer[HEADER_BYTES : SIZE_BYTES + size])
        del self._buffer[: SIZE_BYTES + size]
        return header, body

    def _on_frame(self, header: bytes, body: bytes, now: float) -> None:
        kind = header[2]
        if kind == FrameKind.CLOSE:
            self._on_close(header, body)
        elif kind == FrameKind.RECORD and self._receive is not None:
            self._on_record(self._receive, header, body)
        elif kind == FrameKind.REKEY and self.state is LinkState.ESTABLISHED:
            self._on_rekey(header, body, now)
        elif (
            kind == FrameKind.HANDSHAKE
            and self.state is LinkState.HANDSHAKE
            and self._handshake is not None
        ):
            self._on_handshake(self._handshake, body, now)
        else:
            raise RemoteProtocolError(f"frame kind {kind} in link state {self.state.value}")

    def _on_close(self, header: bytes, body: bytes) -> None:
        sealed = self.state is LinkState.ESTABLISHED
        if sealed and self._receive is not None:
            body = self._open(self._receive, header, body)
        if len(body) != 1:
            raise RemoteProtocolError("malformed close")
        try:
            code = CloseCode(body[0])
            text = code.text
        except ValueError:
            code, text = CloseCode.PROTOCOL_ERROR, f"closed with unknown code {body[0]}"
        self.state = LinkState.CLOSED
        self._events.append(LinkClosed(code, text, sealed))

    def _on_handshake(self, handshake: noise.HandshakeState, body: bytes, now: float) -> None:
        last = handshake.on_last_message
        try:
            if last:
                handshake, payload = handshake.read_with_any(self._psks, body)
            else:
                payload = handshake.read_message(body)
        except AuthenticationError as error:
            # Only the last message depends on the psk, so only there can it be what failed.
            if last:
                code = CloseCode.WRONG_PASSWORD
                raise RemoteProtocolError(code.text, code) from error
            raise RemoteProtocolError("handshake message does not verify") from error
        if self._dialler or last:
            self._authenticated = self._parse_payload(handshake, payload)
        if handshake.our_turn:
            self._send_handshake(handshake, self._our_payload())
        if not handshake.finished:
            return
        split = handshake.split()
        self._send = noise.CipherState(split.send_key)
        self._receive = noise.CipherState(split.receive_key)
        self._handshake = None
        self._handshake_hash = split.handshake_hash
        self._keys_are_new(now)
        if self._dialler:
            self.state = LinkState.CONFIRMING
        else:
            self.state = LinkState.ESTABLISHED
            self._send_sealed(FrameKind.RECORD, b"")  # The confirmation the dialler waits for.
            self._events.append(self._authenticated)

    def _on_record(self, receive: noise.CipherState, header: bytes, body: bytes) -> None:
        plaintext = self._open(receive, header, body)
        if self.state is LinkState.CONFIRMING:
            self.state = LinkState.ESTABLISHED
            self._events.append(self._authenticated)
        if plaintext:
            self._events.append(RecordReceived(plaintext))

    # Renewal of keys, wire.md section 3.6.

    def _keys_are_new(self, now: float) -> None:
        life = self._config.key_life
        self._rekey_at = now + life.rekey_after_s + life.spread_s * self._rng(1)[0] / 256
        self._expires_at = now + life.reject_after_s

    def _rekey_state(self, role: noise.Role) -> noise.HandshakeState:
        return noise.HandshakeState.start(
            noise.IK_PSK2,
            role,
            # The hash binds it to this link and to the keys before, so it fits nowhere else.
            prologue=b"meshnet link rekey" + self._handshake_hash,
            static=self._config.identity.static,
            ephemeral_secret=self._rng(noise.DH_BYTES),
            remote_static=self._their_static if role is noise.Role.INITIATOR else None,
            psk=self._psks[0],
        )

    def _start_rekey(self) -> None:
        self._handshake = self._rekey_state(noise.Role.INITIATOR)
        self._send_sealed(FrameKind.REKEY, self._handshake.write_message(b""))

    def _on_rekey(self, header: bytes, body: bytes, now: float) -> None:
        assert self._receive is not None, "an established link has keys"
        message = self._open(self._receive, header, body)
        if self._dialler:
            self._finish_rekey(message, now)
        elif self._next_receive is None:
            self._answer_rekey(message, now)
        elif message:
            raise RemoteProtocolError("a renewal of keys within another")
        else:
            # The dialler says: what follows is sealed with the new key. Whoever has the old one can
            # say so; that it has the new one as well, and so our psk, shows by what follows only.
            self._receive, self._next_receive = self._next_receive, None
            self._unproved = True

    def _open(self, receive: noise.CipherState, header: bytes, body: bytes) -> bytes:
        plaintext = receive.decrypt(header, body)
        if self._unproved:
            self._unproved = False
            self._keys_are_new(self._answered_at)
        return plaintext

    def _answer_rekey(self, message: bytes, now: float) -> None:
        state = self._rekey_state(noise.Role.RESPONDER)
        state.read_message(message)
        if state.remote_static != self._their_static:
            code = CloseCode.BAD_IDENTITY
            raise RemoteProtocolError(code.text, code)
        self._send_sealed(FrameKind.REKEY, state.write_message(b""))
        split = state.split()
        self._send = noise.CipherState(split.send_key)
        self._next_receive = noise.CipherState(split.receive_key)
        self._answered_at = now
        self._handshake_hash = split.handshake_hash

    def _finish_rekey(self, message: bytes, now: float) -> None:
        if self._handshake is None:
            raise RemoteProtocolError("an answer to no renewal of keys")
        try:
            state, _ = self._handshake.read_with_any(self._psks, message)
        except AuthenticationError as error:
            code = CloseCode.WRONG_PASSWORD
            raise RemoteProtocolError(code.text, code) from error
        self._handshake = None
        self._send_sealed(FrameKind.REKEY, b"")
        split = state.split()
        self._send = noise.CipherState(split.send_key)
        self._receive = noise.CipherState(split.receive_key)
        self._handshake_hash = split.handshake_hash
        self._keys_are_new(now)
        self._send_sealed(FrameKind.RECORD, b"")  # The proof that the listener waits for.

    def _our_payload(self) -> bytes:
        config = self._config
        return (
            config.identity.public_key
            + config.life.to_bytes(8, "big")
            + config.capabilities.to_bytes(4, "big")
            + self.serial.to_bytes(4, "big")
        )

    def _parse_payload(self, handshake: noise.HandshakeState, payload: bytes) -> LinkAuthenticated:
        cursor = Cursor(payload)
        public_key = cursor.read_bytes(32)
        life = cursor.read_u64()
        capabilities = cursor.read_u32()
        serial = cursor.read_u32()  # What follows is a later version's, and ignored.
        if handshake.remote_static is None:
            raise RemoteProtocolError("handshake without a static key")
        self._their_static = handshake.remote_static
        try:
            peer = name_of_static(public_key, handshake.remote_static)
        except AuthenticationError as error:
            code = CloseCode.BAD_IDENTITY
            raise RemoteProtocolError(code.text, code) from error
        if peer == self._config.identity.name:
            code = CloseCode.SELF if life == self._config.life else CloseCode.SAME_IDENTITY
            raise RemoteProtocolError(code.text, code)
        return LinkAuthenticated(peer, public_key, life, capabilities, serial)

    def _send_handshake(self, handshake: noise.HandshakeState, payload: bytes) -> None:
        message = handshake.write_message(payload)
        self._out += _header(FrameKind.HANDSHAKE, len(message)) + message

    def _send_sealed(self, kind: FrameKind, plaintext: bytes) -> None:
        if self._send is None:
            raise LocalProtocolError("no keys yet")
        header = _header(kind, len(plaintext) + noise.TAG_BYTES)
        self._out += header + self._send.encrypt(header, plaintext)


def _header(kind: FrameKind, body_bytes: int) -> bytes:
    return (body_bytes + 1).to_bytes(SIZE_BYTES, "big") + bytes((kind,))
