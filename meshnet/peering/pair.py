"""What one peer holds about its data sessions with another."""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

from attrs import define, field

from meshnet.ids import Endpoint, PeerName, Remote
from meshnet.wire.handshake import PendingHandshake
from meshnet.wire.session import Session

LOSS_OVER_PROBES = 20
# Our choice: so many answers in a row, and the path is taken to be in order again.
CLOSE_LOOK = 8


class Probe(NamedTuple):
    """One that has been sent and not been answered."""

    sent_at: float
    for_user: bool
    is_sample: bool
    """One of those sent at regular intervals: what comes of these shows what the path is like,
    while those sent in a burst all meet the same."""


@define(eq=False, repr=False)
class Pair:
    """Our data sessions with one peer, and how they fare."""

    peer: PeerName
    static: bytes
    life: int
    direct: tuple[Endpoint, ...] = ()
    relay: bool = False
    """Whether it has to be reached through others."""
    heard_from: Endpoint | None = None
    """Where it was heard last, when that was lost; a NAT's address is announced by nobody."""
    moved_at: float = -1.0
    """When its last move was acted on."""
    called_back_at: float = -1.0
    """When it was called because it was heard after it had been given up."""
    doubted_at: float | None = None
    """Since when we wait for a sign that the direct path is still good."""
    turn: int = 0
    pending: PendingHandshake | None = None
    cookie: tuple[bytes, Remote, float] | None = None
    """What its owner sent us to prove our address with: (cookie, by which way, when)."""
    never_clear: bool = False
    """Set when it answers from elsewhere than where it was called: no trusting that."""
    attempts: int = 0
    at_rest: bool = False
    """Its session was not used, and has ended: another is set up when frames flow."""
    waiting_pings: list[int] = field(factory=list)
    """Probes that users ask for, to be sent when there is a session."""
    last_stamp: int = -1
    current: Session | None = None
    former: list[Session] = field(factory=list)
    """Still received by, oldest first: what is on its way is not lost when keys change."""
    unconfirmed: Session | None = None
    reason: str = ""
    rtt_s: float | None = None
    outcomes: deque[bool] = field(factory=lambda: deque[bool](maxlen=LOSS_OVER_PROBES))
    probes: dict[int, Probe] = field(factory=dict)
    probed_at: float = float("-inf")
    kept_alive_at: float = float("-inf")
    """When it was asked last for no other reason than that it was idle."""
    looked_at_counter: int = 0
    """What the session had sent when it was last looked at: does it have traffic?"""
    calls: dict[Remote, str] = field(factory=dict)
    """What the last call to each address gave."""

    def called(self, remote: Remote, result: str) -> None:
        """Remember what came of a call; of addresses announced no more nothing is kept."""
        self.calls[remote] = result
        for gone in self.calls.keys() - {remote, *self.candidates}:
            del self.calls[gone]

    @property
    def path(self) -> Literal["direct", "relay", ""]:
        """How its datagrams travel now; empty without a session."""
        if self.current is None:
            return ""
        return "direct" if type(self.current.remote) is Endpoint else "relay"

    @property
    def sessions(self) -> list[Session]:
        """All that are received by."""
        others = [session for session in (self.unconfirmed, self.current) if session is not None]
        return [*self.former, *others]

    @property
    def candidates(self) -> tuple[Remote, ...]:
        """Where to call it, in order."""
        elsewhere = self.heard_from is not None and self.heard_from not in self.direct
        ways = (*self.direct, self.heard_from) if elsewhere and self.heard_from else self.direct
        return (self.peer, *ways) if self.relay else ways

    @property
    def loss(self) -> float | None:
        """Share of the last probes that came to nothing; None before the first."""
        if not self.outcomes:
            return None
        return self.outcomes.count(False) / len(self.outcomes)

    @property
    def is_lossy(self) -> bool:
        """Whether something was lost of late."""
        return False in list(self.outcomes)[-CLOSE_LOOK:]
