"""What peers send as a network weighs it: IP, UDP and TCP headers and acknowledgements too."""

from __future__ import annotations

from collections import Counter

from attrs import define, field

from meshnet.testing import Packet, Trace, Transport

# IPv4. TCP with the timestamps option, as Linux sends it.
UDP_HEADERS_BYTES = 20 + 8
TCP_HEADERS_BYTES = 20 + 32
SEGMENT_BYTES = 1500 - TCP_HEADERS_BYTES


@define
class Sent:
    """What was sent within some time; bytes with all headers."""

    packets: int = 0
    bytes: int = 0
    by_host: Counter[str] = field(factory=Counter)


class Meter(Trace):
    """Counts instead of keeping packets. Each TCP segment is acknowledged by one of its own.

    That is the upper bound: acknowledgements that travel with data are not taken off.
    """

    def __init__(self) -> None:
        super().__init__(keep=0)
        self.sent = Sent()

    def add(self, packet: Packet) -> None:
        """Hashed as any trace, so that runs can be compared."""
        super().add(packet)
        size = len(packet.data)
        if packet.transport is Transport.UDP:
            # What a fault befell on its way is noted a second time.
            if packet.fault not in ("cut on its way", "nobody there any more"):
                self._weigh(packet.source, 1, size + UDP_HEADERS_BYTES)
            return
        segments = -(-size // SEGMENT_BYTES)
        self._weigh(packet.source, segments, size + segments * TCP_HEADERS_BYTES)
        self._weigh(packet.to, segments, segments * TCP_HEADERS_BYTES)

    def take(self) -> Sent:
        """What was sent since the last call."""
        sent, self.sent = self.sent, Sent()
        return sent

    def _weigh(self, host: str, packets: int, size_bytes: int) -> None:
        sent = self.sent
        sent.packets += packets
        sent.bytes += size_bytes
        sent.by_host[host] += size_bytes
