"""The shape of `meshnet report`: the JSON object a node answers with (design section 9).

TypedDicts, so that what the engine builds and what the client reads are one definition, at no cost
to a plug-in that only wants to read JSON.
"""

from __future__ import annotations

from typing import Literal, TypedDict

ConnectionState = Literal["established", "connecting", "retrying", "failed"]


class PeerConnection(TypedDict):
    name: str
    established: bool


class PeerReport(TypedDict):
    """One known peer. ``connections`` are those we see ourselves: ours."""

    name: str
    nickname: str
    reachable: bool
    connections: list[PeerConnection]


class ConnectionReport(TypedDict):
    """One linked peer, or one address that is being dialled (``peer`` is then empty).

    ``reason`` says why the state is not established. ``loss`` is a share, 0 to 1; ``mtu`` the
    overlay MTU the peer announces; ``null`` is what is not known yet.
    """

    peer: str
    nickname: str
    address: str
    direction: Literal["outbound", "inbound"]
    state: ConnectionState
    reason: str
    path: Literal["direct", "relay", ""]
    encrypted: bool
    cipher: str
    rtt_ms: float | None
    loss: float | None
    mtu: int | None


class RouteReport(TypedDict):
    peer: str
    via: str
    hops: int


class DataPathReport(TypedDict):
    offloads: dict[str, str]
    counters: dict[str, int]
    drops: dict[str, int]


class Report(TypedDict):
    """Everything a node says of itself. ``open``: it has no password, so anyone may join."""

    ready: bool
    name: str
    nickname: str
    network: str
    version: str
    open: bool
    listen: str
    addresses: list[str]
    tap: str
    mtu: int
    peers: list[PeerReport]
    connections: list[ConnectionReport]
    routes: list[RouteReport]
    data_path: DataPathReport


class Pong(TypedDict):
    """One answer of `ping`: ``rtt_ms`` is null when nothing came back in time."""

    seq: int
    rtt_ms: float | None


class Reloaded(TypedDict):
    """What `reload` did: ``unchanged`` are the settings that wait for the next start."""

    unchanged: list[str]
