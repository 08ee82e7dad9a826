"""Peer records made by hand, to say what `write_record` refuses to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from meshnet.ids import PeerName
from meshnet.wire.identity import Identity
from support.samples import NETWORK_ID


def endpoint_bytes(address: str, port: int = 6783) -> bytes:
    parsed = ipaddress.ip_address(address)
    return bytes((parsed.version,)) + parsed.packed + port.to_bytes(2, "big")


def record_body(
    who: Identity,
    *,
    sequence: int,
    name: PeerName | None = None,
    endpoints: Sequence[bytes] = (),
    links: Sequence[PeerName] = (),
    trailing: bytes = b"",
) -> bytes:
    """A record of format 1 and incarnation 1 without its signature (wire.md section 6)."""
    return (
        b"\x01"
        + (name or who.name)
        + who.public_key
        + (1).to_bytes(8, "big")
        + sequence.to_bytes(8, "big")
        + b"\x00"
        + (1376).to_bytes(2, "big")
        + bytes(4)
        + (7).to_bytes(8, "big")
        + bytes((len(endpoints),))
        + b"".join(endpoints)
        + bytes((len(links),))
        + b"".join(links)
        + trailing
    )


def signed(who: Identity, body: bytes, network: bytes = NETWORK_ID) -> bytes:
    return body + who.sign(b"peer record", network + body)
