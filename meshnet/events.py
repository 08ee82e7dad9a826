"""What an engine tells its driver has happened: past tense, values only."""

from __future__ import annotations

from attrs import define

from meshnet.errors import CloseCode, DropReason
from meshnet.ids import Endpoint, PeerName, Remote


@define(frozen=True)
class LinkEstablished:
    """An authenticated link to ``peer`` is up."""

    peer: PeerName
    remote: Endpoint
    outbound: bool


@define(frozen=True)
class LinkLost:
    """The link to ``peer`` has ended; it is dialled again."""

    peer: PeerName
    reason: str


@define(frozen=True)
class LinkRefused:
    """A link ended before it was established: by us or, where ``by_peer``, by the other end.

    The other end's word is unauthenticated: anyone on the path could have said it.
    """

    remote: Endpoint
    outbound: bool
    reason: str
    code: CloseCode | None
    by_peer: bool


@define(frozen=True)
class DialFailed:
    """No connection could be made to an address (``host:port``), ``failures`` times in a row."""

    address: str
    reason: str
    failures: int


@define(frozen=True)
class PeerDiscovered:
    """A record of a peer not known before has arrived."""

    peer: PeerName
    nickname: str


@define(frozen=True)
class RecordIgnored:
    """A link brought a record that does not count; its carrier is not to blame."""

    carrier: PeerName
    reason: DropReason
    text: str


@define(frozen=True)
class SessionEstablished:
    """Frames to and from ``peer`` flow, sealed with ``cipher``, to ``remote``."""

    peer: PeerName
    remote: Remote
    cipher: str


@define(frozen=True)
class SessionLost:
    """The data session with ``peer`` is gone."""

    peer: PeerName
    reason: str


@define(frozen=True)
class ProbeAnswered:
    """A probe through the data session came back after ``rtt_s`` seconds."""

    peer: PeerName
    probe_id: int
    rtt_s: float


@define(frozen=True)
class AddressConflict:
    """Two MAC addresses claim one overlay ``address``; each with the peer it is behind.

    None instead of a peer: on our side. Hosts that reach one of the two do not reach the other.
    """

    address: str
    claims: tuple[tuple[str, PeerName | None], tuple[str, PeerName | None]]


@define(frozen=True)
class FloodLimited:
    """More is broadcast from ``peer`` (None: on our side) than is carried; told once a minute."""

    peer: PeerName | None


@define(frozen=True)
class LoopSuspected:
    """``mac`` keeps changing sides: two hosts' bridges are joined by something else than us."""

    mac: str


Event = (
    LinkEstablished
    | LinkLost
    | LinkRefused
    | DialFailed
    | PeerDiscovered
    | RecordIgnored
    | SessionEstablished
    | SessionLost
    | ProbeAnswered
    | AddressConflict
    | FloodLimited
    | LoopSuspected
)
