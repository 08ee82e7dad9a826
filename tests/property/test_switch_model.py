"""The switch, and the limit on what it floods, against slow and obvious ones."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshnet.ids import PeerName
from meshnet.switch.storm import (
    FLOOD_BURST_BYTES,
    FLOOD_BURST_COPIES,
    FLOOD_BYTES_PER_S,
    FLOOD_COPIES_PER_S,
    StormLimit,
)
from meshnet.switch.switch import MAC_AGE_S, Switch, Verdict
from support.samples import ALICE, BOB, BROADCAST, CAROL, ethernet, mac

OVERLAY_MTU = 1280
PEERS = st.sampled_from([ALICE.name, BOB.name, CAROL.name])
UNICAST = [mac(number) for number in range(4)]
GROUPS = [BROADCAST, bytes.fromhex("01005e000001")]
ADDRESSES = st.sampled_from([*UNICAST, *GROUPS])
SIZES = st.sampled_from([0, 13, 14, 60, 14 + 4 + OVERLAY_MTU, 14 + 4 + OVERLAY_MTU + 1])


def frame(destination: bytes, source: bytes, size: int) -> bytes:
    return ethernet(destination, source).ljust(size, b"\0")[:size]


class SwitchAgainstModel(RuleBasedStateMachine):
    """The model keeps every sight for ever, in order, and looks through all of them each time."""

    @initialize()
    def start(self) -> None:
        self.switch = Switch(OVERLAY_MTU)
        self.now = 0.0
        self.sights: list[tuple[bytes, PeerName | None, float]] = []
        self.moves = 0
        self.held: dict[bytes, PeerName | None] = {}
        """Where a table that is swept keeps each address, however old."""

    def fault(self, source: bytes, size: int) -> Verdict | None:
        if size < 14:
            return Verdict.RUNT
        if size > 14 + 4 + OVERLAY_MTU:
            return Verdict.OVERSIZED
        return Verdict.BAD_SOURCE if source in GROUPS else None

    def where(self, address: bytes) -> PeerName | Verdict:
        for seen, side, at in reversed(self.sights):
            if seen == address:
                if self.now - at > MAC_AGE_S:
                    return Verdict.FLOOD
                return Verdict.LOCAL if side is None else side
        return Verdict.FLOOD

    def sight(self, source: bytes, side: PeerName | None) -> None:
        self.sights.append((source, side, self.now))
        self.moves += source in self.held and self.held[source] != side
        self.held[source] = side

    @rule(destination=ADDRESSES, source=ADDRESSES, size=SIZES)
    def from_local(self, destination: bytes, source: bytes, size: int) -> None:
        expected: PeerName | Verdict | None = self.fault(source, size)
        arrived: list[bytes] = []
        if expected is None:
            was_here = self.where(source) is Verdict.LOCAL
            self.sight(source, None)
            expected = Verdict.FLOOD if destination in GROUPS else self.where(destination)
            if not was_here and expected is not Verdict.FLOOD:
                arrived = [source]
        assert self.switch.from_local(frame(destination, source, size), self.now) == expected
        assert self.switch.arrived == arrived
        self.switch.arrived.clear()

    @rule(destination=ADDRESSES, source=ADDRESSES, size=SIZES, peer=PEERS)
    def from_peer(self, destination: bytes, source: bytes, size: int, peer: PeerName) -> None:
        expected = self.fault(source, size)
        if expected is None:
            self.sight(source, peer)
            here = destination not in GROUPS and self.where(destination) is Verdict.LOCAL
            expected = Verdict.LOCAL if here else Verdict.FLOOD
        assert self.switch.from_peer(frame(destination, source, size), peer, self.now) is expected

    @rule(peer=PEERS)
    def forget_peer(self, peer: PeerName) -> None:
        self.switch.forget_peer(peer)
        for address in UNICAST:
            if self.held.get(address) == peer:
                del self.held[address]
                self.sights = [sight for sight in self.sights if sight[0] != address]

    @rule(elapsed_s=st.sampled_from([0.0, 1.0, MAC_AGE_S / 2, MAC_AGE_S, MAC_AGE_S + 1.0]))
    def wait(self, elapsed_s: float) -> None:
        self.now += elapsed_s

    @rule()
    def sweep(self) -> None:
        self.switch.sweep(self.now)
        for address in UNICAST:
            if self.where(address) is Verdict.FLOOD:
                self.held.pop(address, None)
        assert len(self.switch) == sum(
            self.where(address) is not Verdict.FLOOD for address in UNICAST
        )

    @invariant()
    def holds_no_more_than_there_is(self) -> None:
        assert len(self.switch) <= len(UNICAST)

    @invariant()
    def counts_every_change_of_side(self) -> None:
        assert self.switch.moves == self.moves


class StormAgainstModel(RuleBasedStateMachine):
    """The model remembers all that was let through, and adds it up anew each time.

    A bucket has let through no more, in any span of time, than the burst and the rate over that
    span; and it refuses nothing that would keep to this.
    """

    @initialize()
    def start(self) -> None:
        self.limit = StormLimit()
        self.now = 0.0
        self.passed: dict[PeerName | None, list[tuple[float, int, int]]] = {}

    def allows(self, side: PeerName | None, copies: int, size_bytes: int) -> bool:
        """Whether every span that ends now has room for this on top."""
        passed = self.passed.get(side, [])
        for since in {at for at, _, _ in passed} | {self.now}:
            span_s = self.now - since
            later = [entry for entry in passed if entry[0] >= since]
            total = copies + sum(entry[1] for entry in later)
            total_bytes = size_bytes + sum(entry[2] for entry in later)
            if total > FLOOD_BURST_COPIES + span_s * FLOOD_COPIES_PER_S + 0.01:
                return False
            if total_bytes > FLOOD_BURST_BYTES + span_s * FLOOD_BYTES_PER_S + 10.0:
                return False
        return True

    @rule(
        side=st.one_of(st.none(), PEERS),
        copies=st.sampled_from([1, 7, 1000, 4999]),
        size=st.sampled_from([14, 60, 1394, 9018]),
        times=st.integers(1, 5),
    )
    def flood(self, side: PeerName | None, copies: int, size: int, times: int) -> None:
        for _ in range(times):
            expected = self.allows(side, copies, copies * size)
            assert self.limit.take(side, copies, size, self.now) is expected
            if expected:
                self.passed.setdefault(side, []).append((self.now, copies, copies * size))

    @rule(elapsed_s=st.sampled_from([0.125, 0.5, 1.0, 3.0]))
    def wait(self, elapsed_s: float) -> None:
        self.now += elapsed_s


TestSwitchAgainstModel = SwitchAgainstModel.TestCase
TestStormAgainstModel = StormAgainstModel.TestCase
