"""What one engine is told at its start."""

from __future__ import annotations

from collections.abc import Mapping

from meshnet.discovery.neighbours import DEFAULT_DEGREE
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.absences import DEFAULT_PEER_LEASE_S
from meshnet.peering.linking import DEFAULT_CONN_LIMIT
from meshnet.peering.trusted import Subnet
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.values import Value
from meshnet.wire.ciphers import DEFAULT_PREFERENCE, CipherId
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, KeyLife


class EngineConfig(Value, secret=("psk", "other_psks")):
    """What one engine is. ``generation`` rises with each start from the same identity.

    ``durable``: what is written to channels is acknowledged when the driver has put it on disk.
    ``psk`` is offered; it and ``other_psks`` are accepted. ``peer_lease_s``: how long a peer is
    remembered that is gone, None: for ever; ``absent_s``: how long each was, in lives before.
    """

    identity: Identity
    psk: bytes
    network: str = "meshnet"
    nickname: str = ""
    incarnation: int = 0
    generation: int = 0
    life: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    overlay_mtu: int = DEFAULT_OVERLAY_MTU
    ciphers: tuple[CipherId, ...] = DEFAULT_PREFERENCE
    discovery: bool = True
    capabilities: int = 0
    durable: bool = False
    key_life: KeyLife = DEFAULT_KEY_LIFE
    conn_limit: int = DEFAULT_CONN_LIMIT
    degree: int = DEFAULT_DEGREE
    other_psks: tuple[bytes, ...] = ()
    trusted_subnets: tuple[Subnet, ...] = ()
    peer_lease_s: float | None = DEFAULT_PEER_LEASE_S
    absent_s: Mapping[PeerName, float] = {}
