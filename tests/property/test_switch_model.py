"""The switch against a slow and obvious one."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshnet.ids import PeerName
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

    @rule(destination=ADDRESSES, source=ADDRESSES, size=SIZES)
    def from_local(self, destination: bytes, source: bytes, size: int) -> None:
        expected: PeerName | Verdict | None = self.fault(source, size)
        if expected is None:
            self.sights.append((source, None, self.now))
            expected = Verdict.FLOOD if destination in GROUPS else self.where(destination)
        assert self.switch.from_local(frame(destination, source, size), self.now) == expected

    @rule(destination=ADDRESSES, source=ADDRESSES, size=SIZES, peer=PEERS)
    def from_peer(self, destination: bytes, source: bytes, size: int, peer: PeerName) -> None:
        expected = self.fault(source, size)
        if expected is None:
            self.sights.append((source, peer, self.now))
            expected = Verdict.LOCAL
        assert self.switch.from_peer(frame(destination, source, size), peer, self.now) is expected

    @rule(peer=PEERS)
    def forget_peer(self, peer: PeerName) -> None:
        self.switch.forget_peer(peer)
        for address in UNICAST:
            if self.where(address) == peer:
                self.sights = [sight for sight in self.sights if sight[0] != address]

    @rule(elapsed_s=st.sampled_from([0.0, 1.0, MAC_AGE_S / 2, MAC_AGE_S, MAC_AGE_S + 1.0]))
    def wait(self, elapsed_s: float) -> None:
        self.now += elapsed_s

    @rule()
    def sweep(self) -> None:
        self.switch.sweep(self.now)
        assert len(self.switch) == sum(
            self.where(address) is not Verdict.FLOOD for address in UNICAST
        )

    @invariant()
    def holds_no_more_than_there_is(self) -> None:
        assert len(self.switch) <= len(UNICAST)


TestSwitchAgainstModel = SwitchAgainstModel.TestCase
