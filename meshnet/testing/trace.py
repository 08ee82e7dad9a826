"""What went over the emulated network, as far as an onlooker can read it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from meshnet.errors import CloseCode
from meshnet.testing.emulator import Transport
from meshnet.wire.datagram import HEADER, HEADER_BYTES, DatagramType
from meshnet.wire.link import HEADER_BYTES as LINK_HEADER_BYTES
from meshnet.wire.link import HELLO_BYTES, MAGIC, SIZE_BYTES, FrameKind

LINES_SHOWN = 40
"""How much of its end a failure prints."""


class Packet(NamedTuple):
    """Bytes that a host gave to the network, or what befell those on their way.

    ``to`` is a host's nickname, or the address where no host has it. ``fault`` is the emulator's
    word for what went wrong, empty when nothing did.
    """

    at: float
    source: str
    to: str
    transport: Transport
    data: bytes
    fault: str = ""

    def __str__(self) -> str:
        line = f"{self.at:12.6f}  {self.source} > {self.to}  {self.what}"
        return f"{line}  ** {self.fault}" if self.fault else line

    @property
    def what(self) -> str:
        """Transport, kind and size, from what is in clear."""
        describe = describe_datagram if self.transport is Transport.UDP else describe_stream
        return f"{self.transport.value} {describe(self.data)}"


def describe_datagram(data: bytes) -> str:
    """One line on a UDP payload (wire.md section 5.1)."""
    if len(data) < HEADER_BYTES:
        return f"{len(data)} bytes, no header"
    kind, _flags, _reserved, index, counter = HEADER.unpack_from(data)
    try:
        name = DatagramType(kind).name
    except ValueError:
        name = f"type {kind}"
    detail = f" index {index:08x} counter {counter}" if kind == DatagramType.DATA else ""
    return f"{name}{detail}, {len(data)} bytes"


def describe_stream(data: bytes) -> str:
    """One line on bytes of a link that begin at the begin of a frame (wire.md section 3)."""
    parts: list[str] = []
    rest = data
    if rest.startswith(MAGIC) and len(rest) >= HELLO_BYTES:
        parts.append("HELLO")
        rest = rest[HELLO_BYTES:]
    while len(rest) >= LINK_HEADER_BYTES:
        size = int.from_bytes(rest[:SIZE_BYTES], "big")
        parts.append(_describe_frame(rest[2], size - 1, rest[LINK_HEADER_BYTES:]))
        rest = rest[SIZE_BYTES + max(size, 1) :]
    if rest:
        parts.append(f"{len(rest)} bytes more")
    return f"{', '.join(parts) or 'nothing'}: {len(data)} bytes"


def _describe_frame(kind: int, body_bytes: int, body: bytes) -> str:
    try:
        name = FrameKind(kind).name
    except ValueError:
        name = f"kind {kind}"
    if kind == FrameKind.CLOSE and body_bytes == 1 and body:
        code = body[0]
        known = code in {member.value for member in CloseCode}
        return f"CLOSE {CloseCode(code).name if known else code}"
    return f"{name}({body_bytes})"


class Trace:
    """The last ``keep`` packets, and a digest of all there ever were."""

    def __init__(self, keep: int | None = None) -> None:
        self._packets: deque[Packet] = deque(maxlen=keep)
        self._count = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, packet: Packet) -> None:
        self._packets.append(packet)
        self._count += 1
        at, source, to, transport, data, fault = packet
        head = f"{at!r} {source} {to} {transport.value} {fault} {len(data)}\n"
        self._hash.update(head.encode() + data)

    def clear(self) -> None:
        """Keep none of those so far; the digest and the count go on."""
        self._packets.clear()

    def __len__(self) -> int:
        """How many there were, also of those no longer kept."""
        return self._count

    def __iter__(self) -> Iterator[Packet]:
        return iter(self._packets)

    def __getitem__(self, at: int) -> Packet:
        return self._packets[at]

    @property
    def digest(self) -> str:
        """Equal for two runs only if every packet, its time and its fate were equal."""
        return self._hash.hexdigest()

    def text(self, last: int = LINES_SHOWN) -> str:
        """The last packets, one a line."""
        shown = self._tail(last)
        left_out = self._count - len(shown)
        head = [f"... {left_out} packets before"] if left_out else []
        return "\n".join([*head, *(str(packet) for packet in shown)])

    def mermaid(self, last: int = LINES_SHOWN) -> str:
        """The last packets as a Mermaid sequence diagram; lost ones end in a cross."""
        lines = ["sequenceDiagram"]
        for packet in self._tail(last):
            arrow = "-x" if packet.fault and packet.fault not in _ARRIVES else "->>"
            note = f" ({packet.fault})" if packet.fault else ""
            lines.append(
                f"    {_participant(packet.source)}{arrow}{_participant(packet.to)}: "
                f"{packet.at:.6f} {packet.what}{note}"
            )
        return "\n".join(lines)

    def _tail(self, last: int) -> list[Packet]:
        return list(self._packets)[-last:] if last > 0 else []


_ARRIVES = {"duplicated", "reordered"}


def _participant(name: str) -> str:
    """Mermaid takes letters, digits and underscores only."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
