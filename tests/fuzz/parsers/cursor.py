"""Any reads of any bytes give what stands there, or MalformedError; clean texts pack to the same.

A plan: a byte that says how many reads, then one byte for each, and the bytes that are read.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.wire.cursor import Cursor, MalformedError, is_clean, pack_text

COVERS = ("meshnet.wire.cursor:Cursor", "meshnet.wire.cursor:is_clean")

_SIZED, _TEXT = 4, 5


def check(data: bytes) -> None:
    plan = Plan(data)
    reads, data = plan.piece(), plan.rest()
    cursor = Cursor(data)
    at = 0
    try:
        for read in reads:
            at += _read(cursor, read, data[at:])
            assert cursor.left == len(data) - at
        cursor.finish()
        assert at == len(data)
    except MalformedError:
        return


def _read(cursor: Cursor, read: int, left: bytes) -> int:
    """How many bytes were read; what was read is that."""
    kind, argument = read % 8, read // 8
    if kind == _TEXT:
        text = cursor.read_text(8 * argument)
        assert is_clean(text)
        packed = pack_text(text, 8 * argument)
        assert left.startswith(packed)
        return len(packed)
    if kind == _SIZED:
        said = cursor.read_sized(8 * argument, "piece")
        assert left.startswith(len(said).to_bytes(2, "big") + said)
        assert len(said) <= 8 * argument
        return 2 + len(said)
    if kind == 6:
        assert cursor.read_bytes(argument) == left[:argument]
        return argument
    if kind == 7:
        assert cursor.read_rest() == left
        return len(left)
    size = (1, 2, 4, 8)[kind]
    number = (cursor.read_u8, cursor.read_u16, cursor.read_u32, cursor.read_u64)
    assert number[kind]() == int.from_bytes(left[:size], "big")
    return size


def seeds() -> Iterator[bytes]:
    texts = ("", "host-1", "Zürich", "a\x7f", "a\u2028", "a\u202e", "\x00", "日本")
    for text in texts:
        yield piece(bytes((_TEXT + 8 * 31,))) + piece(text.encode())
    yield piece(bytes((_TEXT + 8,))) + piece(b"longer than eight")
    yield piece(bytes((_TEXT + 8,))) + piece(b"\xff\xfe")
    yield piece(bytes((0, 1, 2, 3, 6 + 8 * 3))) + bytes(range(18))
    for sized in (b"\0\3abc", b"\0\x09too many", b"\0\3ab", b"\0"):
        yield piece(bytes((_SIZED + 8,))) + sized
    yield piece(bytes((0, 7))) + b"the rest"
    yield piece(bytes((3,))) + b"short"
    yield piece(bytes((0,))) + b"too much"
