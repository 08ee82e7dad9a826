"""The addresses over which links came up, kept across restarts: who is told of nobody finds these.

The newest stands first. Only what was linked is remembered: what peers merely announce could crowd
out the rest. A name stays a name, since what it means is looked up at each try.
"""

from __future__ import annotations

from collections import Counter

from attrs import define

from meshnet.ids import PeerName
from meshnet.wire.cursor import Cursor, MalformedError, pack_text

FORMAT = 1

# Our choice. At most 280 kB; the usual mesh needs one or two.
MAX_REMEMBERED = 1024
MAX_REMEMBERED_PER_PEER = 4
"""A peer that moves about does not push out the others."""

MAX_HOST_BYTES = 253
"""RFC 1035 section 2.3.4: the longest name of a host, as it is written."""


@define(frozen=True)
class RememberedAddress:
    """``host`` is an IP address or a name, as given to dial; ``peer`` who answered there."""

    host: str
    port: int
    peer: PeerName | None


Remembered = tuple[RememberedAddress, ...]


def remember(known: Remembered, address: RememberedAddress) -> Remembered:
    """``known`` with ``address`` in front, and without what is then too much.

    An address belongs to who answered there last.
    """
    kept = [address]
    of_this_peer = 1
    for one in known:
        if (one.host, one.port) == (address.host, address.port):
            continue
        if address.peer is not None and one.peer == address.peer:
            of_this_peer += 1
            if of_this_peer > MAX_REMEMBERED_PER_PEER:
                continue
        kept.append(one)
    return tuple(kept[:MAX_REMEMBERED])


def forget(known: Remembered, peer: PeerName) -> Remembered:
    """``known`` without the addresses of ``peer``."""
    return tuple(one for one in known if one.peer != peer)


def pack_remembered(known: Remembered) -> bytes:
    """The form that `parse_remembered` reads; raises ValueError when it would not read it back."""
    _check(known)
    packed = [
        (one.peer is not None).to_bytes(1, "big")
        + (one.peer or b"")
        + pack_text(one.host, MAX_HOST_BYTES)
        + one.port.to_bytes(2, "big")
        for one in known
    ]
    return bytes((FORMAT,)) + len(known).to_bytes(2, "big") + b"".join(packed)


def parse_remembered(raw: bytes) -> Remembered:
    """Raises MalformedError. Whether ``raw`` is valid depends on its bytes alone."""
    cursor = Cursor(raw)
    if (form := cursor.read_u8()) != FORMAT:
        raise MalformedError(f"format {form} of remembered addresses is unknown")
    count = cursor.read_u16()
    if count > MAX_REMEMBERED:
        raise MalformedError(f"{count} remembered addresses")
    known = tuple(_read_address(cursor) for _ in range(count))
    cursor.finish()
    try:
        _check(known)
    except ValueError as error:
        raise MalformedError(str(error)) from error
    return known


def _read_address(cursor: Cursor) -> RememberedAddress:
    if (has_peer := cursor.read_u8()) > 1:
        raise MalformedError(f"{has_peer} is neither a peer nor none")
    peer = PeerName(cursor.read_bytes(16)) if has_peer else None
    return RememberedAddress(cursor.read_text(MAX_HOST_BYTES), cursor.read_u16(), peer)


def _check(known: Remembered) -> None:
    """Raises ValueError for what `remember` would not give."""
    if len(known) > MAX_REMEMBERED:
        raise ValueError(f"{len(known)} remembered addresses")
    if len({(one.host, one.port) for one in known}) != len(known):
        raise ValueError("an address stands twice")
    of_peer = Counter(one.peer for one in known if one.peer is not None)
    if of_peer and max(of_peer.values()) > MAX_REMEMBERED_PER_PEER:
        raise ValueError("too many addresses of one peer")
    for one in known:
        if not one.host or " " in one.host:
            raise ValueError(f"{one.host!r} is no host")
        if not 0 < one.port < 65536:
            raise ValueError(f"port {one.port} is not in 1..65535")
