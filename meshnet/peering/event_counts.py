"""How often each kind of event has happened: the counters of the control plane."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from meshnet.errors import CloseCode
from meshnet.events import (
    AddressConflict,
    DialFailed,
    Event,
    FloodLimited,
    IdentityConflict,
    LinkEstablished,
    LinkLost,
    LinkRefused,
    LoopSuspected,
    PeerDiscovered,
    PeerRemoved,
    SessionEstablished,
    SessionLost,
    SessionRenewed,
    SessionRested,
)

By = Literal["us", "them"]

# Ignored content is a drop, with its reason; answered probes, another MTU and where a peer is stand
# at each connection; what happens in channels is for who reads them.
_COUNTED: dict[type[Event], str] = {
    LinkEstablished: "links_established",
    LinkLost: "links_lost",
    DialFailed: "dials_failed",
    PeerDiscovered: "peers_discovered",
    PeerRemoved: "removals",
    SessionEstablished: "sessions_established",
    SessionRenewed: "sessions_renewed",
    SessionLost: "sessions_lost",
    SessionRested: "sessions_rested",
    IdentityConflict: "identity_conflicts",
    AddressConflict: "address_conflicts",
    FloodLimited: "floods_limited",
    LoopSuspected: "loops_suspected",
}


class EventCounts:
    """Fed with every event of one engine, in `count`."""

    def __init__(self) -> None:
        self.counters = dict.fromkeys(_COUNTED.values(), 0)
        self.refused: Counter[tuple[CloseCode | None, By]] = Counter()
        """Links that ended before they stood: by close code (None: the connection just ended)."""

    def count(self, event: Event) -> None:
        if isinstance(event, LinkRefused):
            self.refused[event.code, "them" if event.by_peer else "us"] += 1
        elif (name := _COUNTED.get(type(event))) is not None:
            self.counters[name] += 1
