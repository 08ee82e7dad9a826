"""The shape of `meshnet report`: the JSON object a node answers with (design section 9).

TypedDicts, so that what the engine builds and what the client reads are one definition, at no cost
to a plug-in that only wants to read JSON. Annotations are evaluated here, where elsewhere they are
not: a TypedDict would compile each that is left as text, which takes twice as long.
"""

import enum
from typing import Literal, TypedDict

ConnectionState = Literal["established", "connecting", "retrying", "failed"]
TargetState = Literal["established", "connecting", "retrying", "failed", "resting"]


class PeerConnection(TypedDict):
    name: str
    established: bool


class GoneReport(TypedDict):
    """A peer that no route reaches.

    ``reason``: it has said ``goodbye``, was ``lost``, or is known from before our start and was
    ``not_seen`` since. ``for_s``: how long, as far as we saw it, in lives of ours before this one,
    too. ``forgotten_in_s``: the rest of its lease; null without one (``--peer-lease never``).
    """

    reason: Literal["goodbye", "lost", "not_seen"]
    for_s: float
    forgotten_in_s: float | None


class PeerReport(TypedDict):
    """One known peer. ``connections`` are those it announces; ``gone`` is null if it is there."""

    name: str
    nickname: str
    reachable: bool
    gone: GoneReport | None
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


class ChannelReport(TypedDict):
    """One replicated state. ``digest``: equal on peers that hold the same."""

    name: str
    type: str
    entries: int
    digest: str


class RouteReport(TypedDict):
    """``cost``: of all links on the way, in units of 0.1 ms (wire.md section 6.5)."""

    peer: str
    via: str
    hops: int
    cost: int


class TargetReport(TypedDict):
    """One thing that is dialled: an address a user ``gave``, or a peer heard of.

    ``address`` is the one dialled last, or first. ``reason`` says what came of it. ``resting``: no
    link is needed. ``failures`` are in a row: 0 while established, by whichever link; one that ends
    at once is one. ``next_try_s``, at the latest, is null while there is nothing to try: linked,
    being dialled, resting, or our own address.
    """

    address: str
    addresses: list[str]
    given: bool
    peer: str
    nickname: str
    state: TargetState
    failures: int
    next_try_s: float | None
    reason: str


class ExplainCause(enum.StrEnum):
    """Why a pair of peers is as it is. The names are fixed; the text beside one is for people."""

    DIRECT = "direct"
    """All is well: a link, and a session on the direct path."""
    RELAYED = "relayed"
    """Frames go through third peers."""
    DIALLING = "dialling"
    """A TCP connection is being made for the first time, or will be."""
    DIAL_FAILED = "dial_failed"
    """No TCP connection could be made."""
    OWN_ADDRESS = "own_address"
    """The address leads to this node itself."""
    LINK_REFUSED = "link_refused"
    """A connection was made, and one end refused the link."""
    LINK_LOST = "link_lost"
    """There was a link; it is dialled again."""
    CONN_LIMIT = "conn_limit"
    """We have as many links as we may, so we do not dial."""
    NOT_NEEDED = "not_needed"
    """It is reached through others, and we have links enough: above --degree not all are linked."""
    NOT_DIALLED = "not_dialled"
    """We do not dial it: it was found, and we run without discovery."""
    NO_ADDRESS = "no_address"
    """It announces no address, so only it can call us."""
    NO_ROUTE = "no_route"
    """No peer that we reach has a link to it."""
    PEER_LEFT = "peer_left"
    """It has stopped, or has no links left: so it says itself."""
    PEER_GONE = "peer_gone"
    """It has not been within reach for so long; it is forgotten when its lease ends."""
    ON_DEMAND = "on_demand"
    """There is a way, and a session is set up when frames flow: there are more peers than that."""
    SESSION_STARTING = "session_starting"
    """The data session's handshake is under way."""
    NO_UDP_ANSWER = "no_udp_answer"
    """Calls by UDP are not answered."""
    PROBES_LOST = "probes_lost"
    """The session was given up, as nothing came back."""
    PROBE_LOSS = "probe_loss"
    """Some probes of the session are lost."""
    MTU_MISMATCH = "mtu_mismatch"
    """The two ends have different overlay MTUs."""


class CauseReport(TypedDict):
    cause: ExplainCause
    text: str


class AttemptReport(TypedDict):
    """What the last try of one address gave: links are tried by TCP, sessions by UDP."""

    address: str
    transport: Literal["tcp", "udp"]
    result: str


class Explanation(TypedDict):
    """Why one peer, or one address being dialled, is connected as it is, or is not.

    ``peer`` is empty while nobody knows who answers at the address. ``causes`` has at least one,
    the weightiest first. ``connection`` is its row of the report, if it has one.
    """

    peer: str
    nickname: str
    causes: list[CauseReport]
    link: Literal["up", "down"]
    connection: ConnectionReport | None
    route: RouteReport | None
    attempts: list[AttemptReport]


class RefusalReport(TypedDict):
    """How many links one close code has ended before they stood, and which end said so."""

    code: str
    by: Literal["us", "them"]
    count: int


class ControlReport(TypedDict):
    """What has happened on links and to sessions since the start."""

    counters: dict[str, int]
    links_refused: list[RefusalReport]


class DataPathReport(TypedDict):
    offloads: dict[str, str]
    counters: dict[str, int]
    drops: dict[str, int]


class Report(TypedDict):
    """Everything a node says of itself. ``open``: it has no password, so anyone may join.

    ``secrets``: how many passwords and keys it accepts. ``addresses`` are those it announces on the
    underlay; ``overlay_addresses`` the host's own on ``interface``: the TAP, or the bridge whose
    port the TAP is.
    """

    ready: bool
    name: str
    nickname: str
    network: str
    version: str
    open: bool
    secrets: int
    listen: str
    addresses: list[str]
    tap: str
    interface: str
    overlay_addresses: list[str]
    mtu: int
    peers: list[PeerReport]
    connections: list[ConnectionReport]
    routes: list[RouteReport]
    channels: list[ChannelReport]
    control: ControlReport
    data_path: DataPathReport


class Pong(TypedDict):
    """One answer of `ping`: ``rtt_ms`` is null when nothing came back in time."""

    seq: int
    rtt_ms: float | None


class RemovedReport(TypedDict):
    """One peer that `rmpeer` had the mesh forget: ``entries`` were let go."""

    name: str
    nickname: str
    entries: int


class ResetReport(TypedDict):
    """A peer that has left the mesh for good; its node ends now, and removes ``state_dir``."""

    name: str
    state_dir: str


class Reloaded(TypedDict):
    """What `reload` did: ``unchanged`` are the options that wait for the next start.

    ``warnings`` are of the settings that hold now, such as that the network is open.
    """

    unchanged: list[str]
    warnings: list[str]
