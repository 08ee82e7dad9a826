"""What is announced, byte by byte, and how often to whom."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest

from meshnet.switch.announce import (
    ANNOUNCE_INTERVAL_S,
    ANNOUNCEMENTS,
    MAX_ANNOUNCED,
    Announcer,
    arrival_notice,
    gratuitous_arp,
    internet_checksum,
    unsolicited_advertisement,
)
from support.samples import ALICE, BOB, CAROL, mac

OURS = bytes.fromhex("020000000001")
IPV4, IPV6 = IPv4Address("10.32.0.1"), IPv6Address("fd32::1")
PEERS = [ALICE.name, BOB.name, CAROL.name]


def test_a_gratuitous_arp_is_a_request_for_the_sender_s_own_address() -> None:
    # RFC 826: hardware Ethernet, protocol IPv4, sizes 6 and 4, request; then the two pairs.
    assert gratuitous_arp(IPV4, OURS) == bytes.fromhex(
        "ffffffffffff 020000000001 0806"
        "0001 0800 06 04 0001 020000000001 0a200001 000000000000 0a200001"
    ).ljust(60, b"\0")


@pytest.mark.parametrize(("router", "flags"), [(False, "20000000"), (True, "a0000000")])
def test_an_unsolicited_advertisement_overrides_and_tells_routers(router: bool, flags: str) -> None:
    frame = unsolicited_advertisement(IPV6, OURS, router=router)
    address, all_nodes = IPV6.packed.hex(), IPv6Address("ff02::1").packed.hex()
    checksum = frame[56:58].hex()
    assert frame == bytes.fromhex(
        f"333300000001 020000000001 86dd 60000000 0020 3a ff {address} {all_nodes}"
        f"88 00 {checksum} {flags} {address} 02 01 020000000001"
    )
    # A sum that includes its own checksum comes to nothing (RFC 1071).
    pseudo = frame[22:54] + struct.pack(">II", 32, socket.IPPROTO_ICMPV6)
    assert internet_checksum(pseudo + frame[54:]) == 0


def test_an_arrival_notice_tells_switches_a_place_and_hosts_nothing() -> None:
    notice = arrival_notice(OURS)
    assert len(notice) == 60
    assert notice[:14] == b"\xff" * 6 + OURS + b"\x80\x35"


def test_the_checksum_is_that_of_rfc_1071() -> None:
    # Its own example (section 3) sums to ddf2.
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def announcer(*addresses: IPv4Address | IPv6Address) -> Announcer:
    made = Announcer()
    made.set_own(OURS, addresses, router=False, peers=(), now=0.0)
    return made


def test_a_new_peer_is_told_all_our_addresses_a_few_times() -> None:
    ours = announcer(IPV4, IPV6)
    assert ours.next_deadline() is None
    ours.peer_up(ALICE.name, 5.0)
    frames = (gratuitous_arp(IPV4, OURS), unsolicited_advertisement(IPV6, OURS, router=False))
    times: list[float] = []
    while (deadline := ours.next_deadline()) is not None:
        for told in ours.pop_due(deadline):
            assert told == (ALICE.name, frames)
            times.append(deadline)
    assert times == [5.0 + number * ANNOUNCE_INTERVAL_S for number in range(ANNOUNCEMENTS)]


def test_without_addresses_nobody_is_told_anything() -> None:
    ours = announcer()
    ours.peer_up(ALICE.name, 0.0)
    assert ours.next_deadline() is None


def test_a_peer_that_is_gone_is_told_no_more() -> None:
    ours = announcer(IPV4)
    ours.peer_up(ALICE.name, 0.0)
    ours.pop_due(0.0)
    ours.peer_down(ALICE.name)
    assert ours.next_deadline() is None


def test_changed_addresses_are_told_to_all_and_unchanged_ones_to_nobody() -> None:
    ours = announcer(IPV4)
    ours.set_own(OURS, [IPV4], router=False, peers=PEERS, now=1.0)
    assert ours.next_deadline() is None
    for at, router, now in ((OURS, False, 1.0), (OURS, True, 20.0), (mac(9), True, 40.0)):
        ours.set_own(at, [IPV4, IPV6], router=router, peers=PEERS, now=now)
        deadline = ours.next_deadline()
        assert deadline is not None
        told = ours.pop_due(deadline)
        assert {peer for peer, _ in told} == set(PEERS)
        while (deadline := ours.next_deadline()) is not None:
            told = ours.pop_due(deadline)


def test_addresses_that_keep_changing_are_told_once_an_interval() -> None:
    ours = announcer(IPV4)
    sent = 0
    for step in range(1000):
        now = step * 0.01
        ours.set_own(mac(step), [IPV4], router=False, peers=[ALICE.name], now=now)
        sent += len(ours.pop_due(now))
    assert sent <= 10.0 / ANNOUNCE_INTERVAL_S + 1


def test_a_host_with_very_many_addresses_announces_some() -> None:
    ours = announcer(*(IPV4 + number for number in range(2 * MAX_ANNOUNCED)))
    ours.peer_up(ALICE.name, 0.0)
    [(_, frames)] = ours.pop_due(0.0)
    assert len(frames) == MAX_ANNOUNCED
