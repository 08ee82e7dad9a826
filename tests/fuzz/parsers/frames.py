"""Any frames leave a switch that knows no group addresses, and claims with an address and a MAC.

A plan: how long each frame is and where it comes from; time passes between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from fuzz.plan import Plan, piece
from meshnet.ids import format_mac
from meshnet.switch.announce import arrival_notice, gratuitous_arp, unsolicited_advertisement
from meshnet.switch.claims import MAX_CLAIMS, ClaimTable, claim_in
from meshnet.switch.ethernet import MAC_BYTES, is_group
from meshnet.switch.switch import Switch, Verdict
from support.samples import ALICE, BOB, ethernet, mac

COVERS = (
    "meshnet.switch.claims:claim_in",
    "meshnet.switch.claims:_claim_in_arp",
    "meshnet.switch.claims:_claim_in_nd",
    "meshnet.switch.claims:ClaimTable.see",
    "meshnet.switch.switch:Switch.from_local",
    "meshnet.switch.switch:Switch.from_peer",
    "meshnet.switch.switch:Switch._check",
    "meshnet.switch.switch:Switch._learn",
)

_OWN = (IPv4Address("10.9.0.1"), IPv6Address("fd00::1"))
_OWN_MAC = mac(99)
_LOCAL, _ALICE, _BOB = range(3)
_WAIT_S = 40.0
_OVERLAY_MTU = 1280


def check(data: bytes) -> None:
    plan = Plan(data)
    switch, claims, now = Switch(_OVERLAY_MTU), ClaimTable(), 0.0
    claims.set_own(_OWN_MAC, _OWN)
    while not plan.over:
        form = plan.number()
        side = (None, ALICE.name, BOB.name)[form % 3]
        now += form // 16 * _WAIT_S
        frame = plan.piece(2)
        where = (
            switch.from_local(frame, now) if side is None else switch.from_peer(frame, side, now)
        )
        carried = where not in (Verdict.RUNT, Verdict.OVERSIZED, Verdict.BAD_SOURCE)
        assert carried == (14 <= len(frame) <= switch.max_frame_bytes and not frame[6] & 1)
        if not carried:
            continue
        source = frame[MAC_BYTES : 2 * MAC_BYTES]
        at = switch.place_of(source, now)
        assert at == (Verdict.LOCAL if side is None else side)
        claim = claim_in(frame)
        conflict = claims.see(frame, side, now)
        if claim is None:
            assert conflict is None
            continue
        assert len(claim.mac) == MAC_BYTES
        assert not is_group(claim.mac)
        assert str(ip_address(claim.address)) not in ("0.0.0.0", "::")
        if conflict is not None:
            assert conflict.address == str(ip_address(claim.address))
            assert format_mac(claim.mac) in dict(conflict.claims)
    assert len(claims) <= MAX_CLAIMS


def _frame(side: int, frame: bytes, waits: int = 0) -> bytes:
    form = 16 * waits + next(n for n in range(16) if (16 * waits + n) % 3 == side)
    return bytes((form,)) + piece(frame, 2)


def seeds() -> Iterator[bytes]:
    four, six = IPv4Address("10.9.0.2"), IPv6Address("fd00::2")
    advertised = unsolicited_advertisement(six, mac(1), router=False)
    asked = advertised[:54] + bytes((135,)) + advertised[55:78] + b"\1" + advertised[79:]
    genuine = (
        gratuitous_arp(four, mac(1)),
        gratuitous_arp(_OWN[0], mac(1)),
        gratuitous_arp(_OWN[0], _OWN_MAC),
        gratuitous_arp(IPv4Address(0), mac(1)),
        arrival_notice(mac(1)),
        advertised,
        asked,
        asked[:78] + b"\7\1" + bytes(6) + asked[78:],
        asked[:78] + b"\7\0" + bytes(6) + asked[78:],
        advertised[:21] + b"\1" + advertised[22:],
        advertised[:54] + b"\x80" + advertised[55:],
        advertised[:78],
        ethernet(mac(1), mac(2)),
        ethernet(mac(2), mac(1)),
        b"runt",
        bytes(1400),
        ethernet(b"\xff" * 6, b"\xff" * 6),
    )
    for frame in genuine:
        for side in (_LOCAL, _ALICE):
            yield _frame(side, frame)
        yield _frame(_ALICE, frame[:40])
        yield _frame(_LOCAL, frame) + _frame(_BOB, frame) + _frame(_LOCAL, frame)
        yield _frame(_LOCAL, frame) + _frame(_LOCAL, frame, waits=15)
    two = (gratuitous_arp(four, mac(1)), gratuitous_arp(four, mac(2)))
    turns = b"".join(_frame(_ALICE, two[n % 2]) for n in range(5))
    yield turns
    yield turns + _frame(_BOB, two[0], waits=2) + _frame(_BOB, two[1])
    yield b"".join(_frame(_LOCAL, gratuitous_arp(_OWN[0], mac(n))) for n in range(3))
    yield b"".join(_frame(n % 2, ethernet(mac(7), mac(8))) for n in range(24))
