"""Who can be called without a session: whoever there is a way to, by name and by key."""

from __future__ import annotations

from meshnet.ids import PeerName
from meshnet.peering.members import Member, Members
from meshnet.topology.records import Description, PeerRecord
from meshnet.wire.identity import Identity
from support.samples import ALICE, BOB, CAROL, endpoint, identity


def record_of(who: Identity) -> PeerRecord:
    description = Description("", 1376, 0, 7, (endpoint(5),))
    return PeerRecord(who.name, who.public_key, description, {})


def members(*people: Identity) -> tuple[dict[PeerName, PeerRecord], Members]:
    records = {who.name: record_of(who) for who in people}
    found = Members(records)
    found.reachable = set(records)
    return records, found


def test_a_member_is_found_by_its_name_and_by_its_key() -> None:
    _, found = members(ALICE, BOB)
    bob = Member(BOB.name, BOB.static.public, 7, (endpoint(5),))
    assert found.by_name(BOB.name) == bob
    assert found.by_static(BOB.static.public) == bob
    assert found.by_name(CAROL.name) is None
    assert found.by_static(CAROL.static.public) is None


def test_who_joins_later_is_found_and_who_goes_is_not() -> None:
    records, found = members(ALICE)
    assert found.by_static(CAROL.static.public) is None
    records[CAROL.name] = record_of(CAROL)
    assert found.by_static(CAROL.static.public) is None, "there is no way to it yet"
    found.reachable = {CAROL.name}
    assert found.by_static(CAROL.static.public) is not None
    assert found.by_static(ALICE.static.public) is None
    del records[CAROL.name]
    assert found.by_static(CAROL.static.public) is None


def test_those_that_come_and_go_are_not_remembered_for_ever() -> None:
    records, found = members(ALICE)
    for number in range(100, 200):
        who = identity(number)
        records[who.name] = record_of(who)
        found.by_static(bytes(32))
        del records[who.name]
    assert len(found._by_static) <= 5
