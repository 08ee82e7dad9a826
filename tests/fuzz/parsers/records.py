"""Any entries are a peer record that is written as it was read, or MalformedError."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.ids import PEER_NAME_BYTES
from meshnet.topology.cost import HOP_COST, MAX_COST
from meshnet.topology.records import (
    MAX_ENDPOINTS,
    is_dialable,
    read_record,
    record_entries,
)
from meshnet.wire.cursor import MalformedError
from support.records import description, endpoint_bytes, entries_of
from support.samples import ALICE, BOB, CAROL

COVERS = (
    "meshnet.topology.records:read_record",
    "meshnet.topology.records:_parse_description",
    "meshnet.topology.records:_read_endpoint",
    "meshnet.topology.records:is_dialable",
)


def check(data: bytes) -> None:
    """A plan: how long the description is, that, and further entries."""
    plan = Plan(data)
    said = plan.piece(2)
    entries = {b"\0": said} if said else {}
    while not plan.over:
        entries[plan.piece()] = plan.piece()
    try:
        record = read_record(ALICE.name, ALICE.public_key, entries)
    except MalformedError:
        return
    assert len(record.endpoints) <= MAX_ENDPOINTS
    assert all(is_dialable(endpoint) for endpoint in record.endpoints)
    assert all(len(peer) == PEER_NAME_BYTES for peer in record.links)
    assert all(HOP_COST <= cost <= MAX_COST for cost in record.costs.values())
    written = record_entries(record.description, record.costs)
    again = read_record(ALICE.name, ALICE.public_key, written)
    assert again == record
    # What we write of it is what it said, unless an IPv4 address came in IPv6 clothes.
    assert entries[b"\0"].startswith(written[b"\0"]) or len(written[b"\0"]) < len(entries[b"\0"])


def seeds() -> Iterator[bytes]:
    some = [endpoint_bytes("10.0.0.1"), endpoint_bytes("fd00::1", 1)]
    for said in (
        b"",
        description(),
        description(nickname="Zürich".encode(), endpoints=some, trailing=b"later"),
        description(nickname=bytes(65)),
        description(nickname=b"\x07"),
        description(endpoints=some * 8),
        description(endpoints=some * 9),
        description(endpoints=[endpoint_bytes("10.0.0.1", 0)]),
        description(endpoints=[endpoint_bytes("::ffff:10.0.0.1")]),
        description(endpoints=[endpoint_bytes("::ffff:224.0.0.1")]),
        description(endpoints=[endpoint_bytes("0.0.0.0")]),
        description(endpoints=[endpoint_bytes("255.255.255.255")]),
        description(endpoints=[endpoint_bytes("ff02::1")]),
        description(endpoints=[b"\5" + bytes(18)]),
        b"\2" + description()[1:],
        description()[:-1],
    ):
        yield piece(said, 2)
    links = entries_of(links=[BOB.name, CAROL.name]) | {b"\1short": b"", b"\2later": b"x"}
    yield piece(links.pop(b"\0"), 2) + b"".join(piece(k) + piece(v) for k, v in links.items())
