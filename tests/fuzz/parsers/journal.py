"""Any bytes are the groups a journal or snapshot had before its torn end, or DamagedError.

The first byte chooses: the rest is a whole file, or records of which one is made, then damaged.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.store.journal_format import (
    JOURNAL_MAGIC,
    SNAPSHOT_MAGIC,
    DamagedError,
    Groups,
    Head,
    pack_group,
    pack_head,
    parse_journal,
    parse_snapshot,
)

COVERS = (
    "meshnet.store.journal_format:parse_head",
    "meshnet.store.journal_format:parse_journal",
    "meshnet.store.journal_format:parse_snapshot",
    "meshnet.store.journal_format:_body_at",
    "meshnet.store.journal_format:_split",
)

_JOURNAL, _SNAPSHOT, _MADE = 0, 1, 2
_HEAD = Head(7, b"a marker")


def check(data: bytes) -> None:
    plan = Plan(data)
    kind = plan.number()
    if kind & _MADE:
        _made(plan, snapshot=bool(kind & _SNAPSHOT))
    else:
        _parse(plan.rest(), snapshot=bool(kind & _SNAPSHOT))


def _parse(data: bytes, *, snapshot: bool) -> Groups | None:
    try:
        groups = parse_snapshot(data) if snapshot else parse_journal(data)
    except DamagedError as error:
        assert "\n" not in str(error)
        return None
    assert groups.last <= groups.end <= len(data)
    return groups


def _made(plan: Plan, *, snapshot: bool) -> None:
    groups = [
        [plan.piece() for _ in range(plan.number() % 4)]
        for _ in range(1 if snapshot else plan.number() % 4)
    ]
    data = pack_head(SNAPSHOT_MAGIC if snapshot else JOURNAL_MAGIC, _HEAD)
    ends = [len(data)]
    for number, records in enumerate(groups, 0 if snapshot else 1):
        data += pack_group(_HEAD.marker, _HEAD.sequence + number, records)
        ends.append(len(data))
    whole = _parse(data, snapshot=snapshot)
    assert whole is not None
    assert whole.records == [record for records in groups for record in records]
    at, mask, kept = plan.number(2) % len(data), plan.number(), plan.number(2)
    damaged = data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]
    damaged = damaged[: max(0, len(damaged) - kept)] + plan.rest()
    found = _parse(damaged, snapshot=snapshot)
    # What was written before the damage is found, or the damage is.
    if found is not None and not snapshot:
        same = _same(data, damaged)
        untouched = max((i for i, end in enumerate(ends) if end <= same), default=0)
        expected = [record for records in groups[:untouched] for record in records]
        assert found.records[: len(expected)] == expected


def _same(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def seeds() -> Iterator[bytes]:
    for kind, magic in ((_JOURNAL, JOURNAL_MAGIC), (_SNAPSHOT, SNAPSHOT_MAGIC)):
        head, start = pack_head(magic, _HEAD), bytes((kind,))
        group = pack_group(_HEAD.marker, _HEAD.sequence + 1 - kind, [b"one", b"", b"three"])
        yield start + head + group
        yield start + head
        yield start + head + group[:-1]
        yield start + head + group + b"torn"
        yield start + head + group + group
        yield start + head + b"\0" + group
        yield start + head[:-1] + b"\0"
        yield start + head[:-1]
        yield start + b"another" + head[7:]
        yield start + head[:8] + b"\0\0\0\2" + head[12:]
        records = b"\2" + piece(b"first") + piece(b"second")
        made = bytes((kind | _MADE,)) + (records if kind else b"\2" + records + b"\1" + piece(b"x"))
        yield made
        yield made + b"\0\0\0\0\3"
        yield made + b"\0\x30\1\0\0"
