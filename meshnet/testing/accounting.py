"""What a host's packets weigh on the wire: headers and acknowledgements included."""

from __future__ import annotations

from collections import Counter

# IPv4 without options, and TCP with timestamps, as Linux has them.
UDP_HEADERS_BYTES = 20 + 8
TCP_HEADERS_BYTES = 20 + 20 + 12
SEGMENT_BYTES = 1500 - TCP_HEADERS_BYTES
# A SYN has more options than other segments.
SYN_BYTES = 20 + 40


class SentOnWire:
    """What one host has sent since it was added, or since `clear`; by kind.

    The kinds are ``udp``, ``tcp`` (segments with content), ``tcp ack`` (those without) and ``tcp
    control`` (begin and end of connections). A segment that is answered at once needs no
    acknowledgement of its own, as the answer is one; of others each second one is acknowledged.
    """

    def __init__(self) -> None:
        self.packets_by_kind: Counter[str] = Counter()
        self.bytes_by_kind: Counter[str] = Counter()

    @property
    def packets(self) -> int:
        return self.packets_by_kind.total()

    @property
    def bytes(self) -> int:
        """Headers included, those of Ethernet left out."""
        return self.bytes_by_kind.total()

    def clear(self) -> None:
        self.packets_by_kind.clear()
        self.bytes_by_kind.clear()

    def datagram(self, size_bytes: int) -> None:
        """A UDP payload."""
        self._add("udp", 1, UDP_HEADERS_BYTES + size_bytes)

    def written(self, size_bytes: int) -> None:
        """Bytes given to a TCP connection at once."""
        segments = _segments(size_bytes)
        self._add("tcp", segments, segments * TCP_HEADERS_BYTES + size_bytes)

    def acknowledged(self, size_bytes: int) -> None:
        """That many bytes came by a TCP connection, and nothing was said in return."""
        acks = -(-_segments(size_bytes) // 2)
        self._add("tcp ack", acks, acks * TCP_HEADERS_BYTES)

    def dialled(self) -> None:
        """A TCP connection that stands: its SYN, and the last of three packets."""
        self._add("tcp control", 2, SYN_BYTES + TCP_HEADERS_BYTES)

    def accepted(self) -> None:
        """The other side of that."""
        self._add("tcp control", 1, SYN_BYTES)

    def ended(self) -> None:
        """A FIN or RST."""
        self._add("tcp control", 1, TCP_HEADERS_BYTES)

    def _add(self, kind: str, packets: int, size_bytes: int) -> None:
        self.packets_by_kind[kind] += packets
        self.bytes_by_kind[kind] += size_bytes


def _segments(size_bytes: int) -> int:
    return -(-size_bytes // SEGMENT_BYTES)
