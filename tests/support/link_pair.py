"""Two ends of one link without a socket, and a dialler made by hand that may lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from meshnet.errors import CloseCode, RemoteProtocolError
from meshnet.ids import NETWORK_ID_BYTES
from meshnet.wire import noise
from meshnet.wire.identity import Identity
from meshnet.wire.link import (
    HEADER_BYTES,
    HELLO_BYTES,
    MAGIC,
    FrameKind,
    LinkAuthenticated,
    LinkClosed,
    LinkConfig,
    LinkEvent,
    LinkProtocol,
    RecordReceived,
)
from support.samples import NETWORK_ID, PSK, rng

Cut = Callable[[bytes], Iterable[bytes]]
"""How a stream falls into pieces on its way."""


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def hello(*, lowest: int = 1, highest: int = 1, network: bytes = NETWORK_ID) -> bytes:
    assert len(network) == NETWORK_ID_BYTES
    return MAGIC + bytes((lowest, highest, 0, 0)) + network


def frame(kind: int, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(2, "big") + bytes((kind,)) + body


def split_frames(stream: bytes) -> list[tuple[int, bytes]]:
    """The (kind, body) of whole frames; fails on leftovers."""
    frames = []
    while stream:
        end = 2 + int.from_bytes(stream[:2], "big")
        assert len(stream) >= end, "the stream ends inside a frame"
        frames.append((stream[2], stream[HEADER_BYTES:end]))
        stream = stream[end:]
    return frames


@define
class End:
    """One end: its protocol, and all that it has told its owner so far."""

    protocol: LinkProtocol
    events: list[LinkEvent] = field(factory=list)
    error: RemoteProtocolError | None = None

    @classmethod
    def dialler(cls, config: LinkConfig, seed: object = "dialler", serial: int = 1) -> End:
        return cls(LinkProtocol(config, dialler=True, rng=rng(seed), serial=serial))

    @classmethod
    def listener(cls, config: LinkConfig, seed: object = "listener") -> End:
        return cls(LinkProtocol(config, dialler=False, rng=rng(seed)))

    def receive(self, data: bytes, now: float = 0.0) -> None:
        """Take bytes as an engine does: errors end the link and are kept, events are drained."""
        try:
            self.protocol.receive(data, now)
        except RemoteProtocolError as error:
            assert self.error is None, "a closed link raised again"
            self.error = error
        while (event := self.protocol.next_event()) is not None:
            self.events.append(event)

    @property
    def authenticated(self) -> list[LinkAuthenticated]:
        return [event for event in self.events if isinstance(event, LinkAuthenticated)]

    @property
    def records(self) -> list[bytes]:
        return [event.plaintext for event in self.events if isinstance(event, RecordReceived)]

    @property
    def closed(self) -> list[LinkClosed]:
        return [event for event in self.events if isinstance(event, LinkClosed)]

    @property
    def learned(self) -> CloseCode | None:
        """Why the link ended, found out here or told by the other end."""
        if self.error is not None:
            return self.error.code
        return self.closed[0].code if self.closed else None


def pump(one: End, other: End, cut: Cut = whole, now: float = 0.0) -> None:
    """Carry bytes both ways until neither has anything to say."""
    while (there := one.protocol.data_to_send()) or (back := other.protocol.data_to_send()):
        if there:
            for piece in cut(there):
                other.receive(piece, now)
        else:
            for piece in cut(back):
                one.receive(piece, now)


def linked(dialler: LinkConfig, listener: LinkConfig, cut: Cut = whole) -> tuple[End, End]:
    """Two ends after as much of a handshake as they could do."""
    ends = End.dialler(dialler), End.listener(listener)
    pump(*ends, cut)
    return ends


@define
class HandDialler:
    """A dialler driven by hand, to send what `LinkProtocol` never would.

    `meet` runs the handshake up to the last message, whose payload the caller chooses.
    """

    who: Identity
    psk: bytes = PSK

    def meet(self, listener: End, payload: bytes) -> list[tuple[int, bytes]]:
        """All frames the listener sends after our last message."""
        ours = hello()
        listener.receive(ours)
        theirs = listener.protocol.data_to_send()
        assert len(theirs) == HELLO_BYTES
        state = noise.HandshakeState.start(
            noise.XX_PSK3,
            noise.Role.INITIATOR,
            prologue=b"meshnet link" + ours + theirs,
            static=self.who.static,
            ephemeral_secret=b"\x0f" * 32,
            psk=self.psk,
        )
        listener.receive(frame(FrameKind.HANDSHAKE, state.write_message(b"")))
        [(kind, body)] = split_frames(listener.protocol.data_to_send())
        assert kind == FrameKind.HANDSHAKE
        state.read_message(body)
        listener.receive(frame(FrameKind.HANDSHAKE, state.write_message(payload)))
        return split_frames(listener.protocol.data_to_send())


def payload_of(public_key: bytes, life: int = 1, extra: bytes = b"") -> bytes:
    """What message 3 says of its sender."""
    capabilities, serial = bytes(4), bytes(4)
    return public_key + life.to_bytes(8, "big") + capabilities + serial + extra
