"""What must hold in every run, watched from outside: by what is on the wire, and by events.

Nothing of the engine is replaced or wrapped, so what is judged is what runs on hosts.
"""

from __future__ import annotations

from meshnet.errors import CloseCode
from meshnet.events import Event, LinkLost, LinkRefused
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, HEADER_BYTES, DatagramType
from meshnet.wire.link import HEADER_BYTES as LINK_HEADER_BYTES
from meshnet.wire.link import HELLO_BYTES, MAGIC, FrameKind
from meshnet.wire.noise import DH_BYTES


class BrokenInvariantError(AssertionError):
    """Something happened that must never happen, whatever the network does."""


class Watch:
    """Looks at everything that is sent. Raises BrokenInvariantError.

    - No (session key, counter) is sealed twice. Keys are not seen, but what makes them is: no
      ephemeral key may come with two messages, and the counters of one session only rise.
    - No link ends over malformed bytes: the emulator changes none. A nonce that a link used twice
      would be noticed so, since its receiver counts as well.
    """

    def __init__(self) -> None:
        # (life of the sender, to whom, receiver index) -> the last counter.
        self._counters: dict[tuple[str, str, int], int] = {}
        # Ephemeral public key -> digest of what came with it.
        self._ephemerals: dict[bytes, int] = {}

    def datagram_sent(self, life: str, to: str, data: bytes) -> None:
        """``life``: of the sending process; counters start anew with the next."""
        if len(data) < HEADER_BYTES:
            return
        kind, _flags, _reserved, index, counter = HEADER.unpack_from(data)
        if kind == DatagramType.DATA:
            key = (life, to, index)
            if counter <= self._counters.get(key, -1):
                raise BrokenInvariantError(
                    f"{life} sealed counter {counter} of index {index:08x} to {to} twice"
                )
            self._counters[key] = counter
        elif kind == DatagramType.INITIATION:
            self._ephemeral_sent(life, data, HEADER_BYTES + COOKIE_BYTES)
        elif kind == DatagramType.RESPONSE:
            self._ephemeral_sent(life, data, HEADER_BYTES)

    def stream_written(self, life: str, data: bytes) -> None:
        """Bytes of a link, as an engine hands them over: whole frames."""
        at = HELLO_BYTES if data.startswith(MAGIC) else 0
        frame = data[at : at + LINK_HEADER_BYTES + DH_BYTES]
        if len(frame) == LINK_HEADER_BYTES + DH_BYTES and frame[2] == FrameKind.HANDSHAKE:
            self._ephemeral_sent(life, data, at + LINK_HEADER_BYTES, may_repeat=False)

    def event_seen(self, nickname: str, event: Event) -> None:
        """What an engine tells its driver."""
        malformed = (isinstance(event, LinkRefused) and event.code is CloseCode.PROTOCOL_ERROR) or (
            isinstance(event, LinkLost) and event.reason == CloseCode.PROTOCOL_ERROR.text
        )
        if malformed:
            raise BrokenInvariantError(f"{nickname}: {event}, though no byte was changed")

    def _ephemeral_sent(self, life: str, data: bytes, at: int, *, may_repeat: bool = True) -> None:
        ephemeral = data[at : at + DH_BYTES]
        # The same datagram again makes no second key; another message with the same key does. A
        # stream repeats nothing, so there a key that comes again was drawn again.
        content = hash(data[at + DH_BYTES :])
        known = self._ephemerals.get(ephemeral)
        if known is not None and not (may_repeat and known == content):
            raise BrokenInvariantError(f"{life} used one ephemeral key for two handshakes")
        self._ephemerals[ephemeral] = content
