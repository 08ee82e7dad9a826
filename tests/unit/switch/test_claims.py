"""Who claims which overlay address: what is read from frames, and when two are in conflict."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from meshnet.events import AddressConflict
from meshnet.ids import PeerName, format_mac
from meshnet.switch import claims as claims_module
from meshnet.switch.announce import gratuitous_arp, unsolicited_advertisement
from meshnet.switch.claims import (
    MAX_CLAIMS,
    TELL_INTERVAL_S,
    TURNS_WITHIN_S,
    Claim,
    ClaimTable,
    claim_in,
)
from support.samples import ALICE, BOB, BROADCAST, ethernet, flip, mac

ONE, OTHER = mac(1), mac(2)
IPV4, IPV6 = IPv4Address("10.32.0.9"), IPv6Address("fd32::9")


def says(address: IPv4Address | IPv6Address, at: bytes) -> bytes:
    if isinstance(address, IPv4Address):
        return gratuitous_arp(address, at)
    return unsolicited_advertisement(address, at, router=False)


def arp(operation: int, sender: bytes, address: str, target: str) -> bytes:
    ip, target_ip = IPv4Address(address).packed, IPv4Address(target).packed
    body = b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2, "big")
    return BROADCAST + sender + b"\x08\x06" + body + sender + ip + bytes(6) + target_ip


def solicitation(sender: bytes, source: IPv6Address, options: bytes) -> bytes:
    target = IPv6Address("fd32::77").packed
    icmp = bytes((135, 0, 0, 0, 0, 0, 0, 0)) + target + options
    header = bytes.fromhex("60000000") + len(icmp).to_bytes(2, "big") + b"\x3a\xff"
    group = IPv6Address("ff02::1:ff00:77").packed
    return (
        b"\x33\x33\xff\x00\x00\x77" + sender + b"\x86\xdd" + header + source.packed + group + icmp
    )


@pytest.mark.parametrize("address", [IPV4, IPV6], ids=str)
def test_what_we_announce_is_a_claim(address: IPv4Address | IPv6Address) -> None:
    assert claim_in(says(address, ONE)) == Claim(address.packed, ONE)


def test_who_asks_by_arp_claims_the_address_it_asks_from() -> None:
    for operation in (1, 2):
        frame = arp(operation, ONE, "10.32.0.9", "10.32.0.1")
        assert claim_in(frame) == Claim(IPV4.packed, ONE)


def test_who_asks_by_nd_claims_the_address_it_asks_from() -> None:
    nonce = bytes((14, 1)) + bytes(6)
    for options in (b"\x01\x01" + ONE, nonce + b"\x01\x01" + ONE):
        assert claim_in(solicitation(ONE, IPV6, options)) == Claim(IPV6.packed, ONE)


@pytest.mark.parametrize(
    "frame",
    [
        arp(1, ONE, "0.0.0.0", "10.32.0.9"),
        arp(3, ONE, "10.32.0.9", "10.32.0.9"),
        arp(1, BROADCAST, "10.32.0.9", "10.32.0.9"),
        arp(1, ONE, "10.32.0.9", "10.32.0.1")[:-1],
        flip(arp(1, ONE, "10.32.0.9", "10.32.0.1"), 8 * 18),
        solicitation(ONE, IPv6Address("::"), b"\x01\x01" + ONE),
        solicitation(ONE, IPV6, b""),
        solicitation(ONE, IPV6, b"\x01\x00" + ONE),
        solicitation(ONE, IPV6, b"\x01\x01" + ONE[:-1]),
        solicitation(ONE, IPV6, b"\x01\x01" + ONE).replace(b"\x3a\xff", b"\x3a\xfe"),
        solicitation(ONE, IPV6, b"\x01\x01" + ONE)[:70],
        ethernet(BROADCAST, ONE),
        BROADCAST + ONE,
    ],
    ids=[
        "a probe",
        "another operation",
        "at a group",
        "cut off",
        "other sizes",
        "duplicate address detection",
        "no link address",
        "an option of no size",
        "an option cut off",
        "from beyond a router",
        "no target",
        "another protocol",
        "no type",
    ],
)
def test_what_claims_nothing(frame: bytes) -> None:
    assert claim_in(frame) is None


def test_nothing_that_is_cut_off_anywhere_raises() -> None:
    for whole in (says(IPV4, ONE), says(IPV6, ONE), solicitation(ONE, IPV6, b"\x01\x01" + ONE)):
        for size in range(len(whole)):
            claim_in(whole[:size])


class Seen:
    """A table, and what it told."""

    def __init__(self) -> None:
        self.table = ClaimTable()

    def __call__(
        self, address: IPv4Address | IPv6Address, at: bytes, where: PeerName | None, now: float
    ) -> AddressConflict | None:
        return self.table.see(says(address, at), where, now)


@pytest.mark.parametrize("address", [IPV4, IPV6], ids=str)
def test_two_that_claim_an_address_in_turns_are_told_of(
    address: IPv4Address | IPv6Address,
) -> None:
    seen = Seen()
    assert seen(address, ONE, ALICE.name, 0.0) is None
    assert seen(address, OTHER, BOB.name, 1.0) is None, "it may have moved there"
    conflict = seen(address, ONE, ALICE.name, 2.0)
    assert conflict == AddressConflict(
        str(address), ((format_mac(ONE), ALICE.name), (format_mac(OTHER), BOB.name))
    )


def test_an_address_that_moves_and_stays_is_no_conflict() -> None:
    seen = Seen()
    for number in range(20):
        for _ in range(3):
            assert seen(IPV4, mac(number), ALICE.name, float(number)) is None


def test_an_address_that_fails_back_after_a_while_is_no_conflict() -> None:
    seen = Seen()
    for number in range(10):
        now = number * (TURNS_WITHIN_S + 1.0)
        assert seen(IPV4, mac(number % 2), ALICE.name, now) is None


def test_a_conflict_that_goes_on_is_told_now_and_then() -> None:
    seen = Seen()
    told = [
        step
        for step in range(600)
        if seen(IPV4, ONE if step % 2 else OTHER, ALICE.name, float(step)) is not None
    ]
    assert told[0] == 2
    assert len(told) == pytest.approx(600 / TELL_INTERVAL_S, abs=1)


def test_who_claims_an_address_of_ours_is_told_of_at_once() -> None:
    seen = Seen()
    seen.table.set_own(ONE, [IPV4, IPV6])
    assert seen(IPV4, ONE, None, 0.0) is None
    conflict = seen(IPV4, OTHER, BOB.name, 0.0)
    assert conflict is not None
    assert conflict.claims == ((format_mac(OTHER), BOB.name), (format_mac(ONE), None))
    assert seen(IPV6, OTHER, BOB.name, 0.0) is not None
    seen.table.set_own(ONE, [])
    assert seen(IPV4, OTHER, BOB.name, 2 * TELL_INTERVAL_S) is None


def test_one_that_invents_addresses_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CLAIMS >= 1000
    monkeypatch.setattr(claims_module, "MAX_CLAIMS", 50)
    seen = Seen()
    for round_number in range(4):
        for number in range(200):
            seen(IPV4 + number, mac(round_number % 2), ALICE.name, float(round_number))
    assert len(seen.table) == 50
    # A newcomer still counts.
    for at in (ONE, OTHER):
        assert seen(IPV4, at, ALICE.name, 10.0) is None
    assert seen(IPV4, ONE, ALICE.name, 10.0) is not None
