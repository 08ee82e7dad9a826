"""What an engine tells its driver has happened: past tense, values only."""

from __future__ import annotations

from typing import Any

from attrs import define

from meshnet.errors import CloseCode, DropReason
from meshnet.ids import ChannelId, Endpoint, PeerName, Remote


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
class ContentIgnored:
    """Replicated content that does not count: of ``source``, or brought by it."""

    source: PeerName
    reason: DropReason
    text: str


@define(frozen=True)
class IdentityConflict:
    """Two hosts write with the key of ``peer``: was its state directory copied?"""

    peer: PeerName


@define(frozen=True)
class SessionEstablished:
    """Frames to and from ``peer`` flow, sealed with ``cipher``, to ``remote``."""

    peer: PeerName
    remote: Remote
    cipher: str


@define(frozen=True)
class SessionRenewed:
    """The keys with ``peer`` were renewed, without a break."""

    peer: PeerName
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
class MessageReceived:
    """``peer`` sent a message on a topic that is read here."""

    peer: PeerName
    topic: str
    payload: bytes


@define(frozen=True)
class MessageAnswered:
    """What became of a message of ours: delivered, or ``reason`` says why not."""

    number: int
    reason: str


@define(frozen=True)
class ChannelChanged:
    """What users see of a channel has changed: values of the type's own change classes."""

    channel: ChannelId
    changes: tuple[Any, ...]


@define(frozen=True)
class UpdatesKept:
    """All updates of a channel up to this ticket are on disk, and told to others."""

    channel: ChannelId
    ticket: int


@define(frozen=True)
class UpdatesLost:
    """The updates of a channel after the last that was kept were undone: the disk refused them."""

    channel: ChannelId
    reason: str


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
    | ContentIgnored
    | IdentityConflict
    | SessionEstablished
    | SessionRenewed
    | SessionLost
    | ProbeAnswered
    | MessageReceived
    | MessageAnswered
    | ChannelChanged
    | UpdatesKept
    | UpdatesLost
    | AddressConflict
    | FloodLimited
    | LoopSuspected
)
