"""The bytes of a journal and of a snapshot, and how a torn end is told from damage.

The tables and the reasons stand in docs/decisions/0016-journal.md. No file is touched here.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from meshnet.errors import LocalProtocolError
from meshnet.ports import MAX_JOURNAL_RECORD_BYTES
from meshnet.values import Value

JOURNAL_MAGIC = b"meshjrnl"
SNAPSHOT_MAGIC = b"meshsnap"
VERSION = 1
MARKER_BYTES = 8
CHECKSUM_BYTES = 8

MAX_GROUP_BYTES = 2**30
"""Our choice: one append, or one snapshot; far above what a mesh's state takes."""

_HEAD = struct.Struct(f">8sIQ{MARKER_BYTES}s")
_GROUP = struct.Struct(f">{MARKER_BYTES}sQI")
_LENGTH = struct.Struct(">I")

HEAD_BYTES = _HEAD.size + CHECKSUM_BYTES
GROUP_HEAD_BYTES = _GROUP.size + CHECKSUM_BYTES


class DamagedError(ValueError):
    """Bytes that were once durable are not what was written; the text goes after "FILE is"."""


class Head(Value):
    """The first bytes of either file.

    ``sequence`` is a snapshot's own number, or that of the snapshot which a journal follows.
    ``marker`` is random, made with the file: what other peers wrote is in our records, and none
    of them can make it look like a group of this file.
    """

    sequence: int
    marker: bytes


class Groups(Value):
    """What a file holds: the records of its good groups, in order."""

    records: list[bytes]
    sequence: int
    """Of the last good group; the head's when there is none."""
    end: int
    """Where the last good group ends: what comes after it was never finished."""
    last: int
    """Where the last good group begins; 0, the head, when there is none."""


def pack_head(magic: bytes, head: Head) -> bytes:
    packed = _HEAD.pack(magic, VERSION, head.sequence, head.marker)
    return packed + _checksum(packed, b"")


def parse_head(magic: bytes, data: bytes) -> Head:
    """Raises DamagedError, also for the format of another version."""
    if len(data) < HEAD_BYTES:
        raise DamagedError(f"damaged: {len(data)} bytes, its head alone has {HEAD_BYTES}")
    found, version, sequence, marker = _HEAD.unpack_from(data)
    if found != magic:
        raise DamagedError("damaged: it does not begin as it should")
    if version != VERSION:
        raise DamagedError(f"of format {version}, which this version of meshnet does not know")
    if _checksum(data[: _HEAD.size], b"") != data[_HEAD.size : HEAD_BYTES]:
        raise DamagedError("damaged: the checksum of its head is wrong")
    return Head(sequence, marker)


def pack_group(marker: bytes, sequence: int, records: Sequence[bytes]) -> bytes:
    """The records of one append, found again all together or not at all.

    Raises LocalProtocolError for a record, or a whole, that is too long.
    """
    pieces: list[bytes] = []
    for record in records:
        if len(record) > MAX_JOURNAL_RECORD_BYTES:
            raise LocalProtocolError(
                f"record of {len(record)} bytes, a journal takes {MAX_JOURNAL_RECORD_BYTES}"
            )
        pieces += (_LENGTH.pack(len(record)), record)
    body = b"".join(pieces)
    if len(body) > MAX_GROUP_BYTES:
        raise LocalProtocolError(f"{len(body)} bytes at once, a journal takes {MAX_GROUP_BYTES}")
    head = _GROUP.pack(marker, sequence, len(body))
    return head + _checksum(head, body) + body


def parse_snapshot(data: bytes) -> Groups:
    """All of it or nothing: a snapshot was synced before it got its name. Raises DamagedError."""
    head = parse_head(SNAPSHOT_MAGIC, data)
    if (body := _body_at(data, HEAD_BYTES, head.marker, head.sequence)) is None:
        raise DamagedError("damaged: the checksum of its content is wrong")
    end = HEAD_BYTES + GROUP_HEAD_BYTES + len(body)
    if end != len(data):
        raise DamagedError(f"damaged: {len(data) - end} bytes too many")
    return Groups(_split(body), head.sequence, end, HEAD_BYTES)


def parse_journal(data: bytes) -> Groups:
    """The good groups. Raises DamagedError.

    A group is only written after the one before it was synced. So a bad one that no good one
    follows was never finished, or its sync never ended: it was not acknowledged, and is left out.
    A bad one before a good one was acknowledged, and is damage.
    """
    head = parse_head(JOURNAL_MAGIC, data)
    records: list[bytes] = []
    sequence, at, last = head.sequence, HEAD_BYTES, 0
    while (body := _body_at(data, at, head.marker, sequence + 1)) is not None:
        records += _split(body)
        sequence, last = sequence + 1, at
        at += GROUP_HEAD_BYTES + len(body)
    later = data.find(head.marker, at)
    while later >= 0:
        if _body_at(data, later, head.marker, None) is not None:
            raise DamagedError(f"damaged at byte {at}, and good again from byte {later} on")
        later = data.find(head.marker, later + 1)
    return Groups(records, sequence, at, last)


def _body_at(data: bytes, at: int, marker: bytes, sequence: int | None) -> bytes | None:
    """The body of the good group at ``at``; None when there is none of that sequence."""
    if at + GROUP_HEAD_BYTES > len(data):
        return None
    found_marker, found_sequence, size = _GROUP.unpack_from(data, at)
    start = at + GROUP_HEAD_BYTES
    if (
        found_marker != marker
        or (sequence is not None and found_sequence != sequence)
        or start + size > len(data)
    ):
        return None
    body = data[start : start + size]
    packed = data[at : at + _GROUP.size]
    return body if _checksum(packed, body) == data[at + _GROUP.size : start] else None


def _split(body: bytes) -> list[bytes]:
    records: list[bytes] = []
    at = 0
    while at < len(body):
        (size,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size + size
        records.append(body[at - size : at])
    return records


def _checksum(head: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=CHECKSUM_BYTES)
    digest.update(body)
    return digest.digest()
