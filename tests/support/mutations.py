"""What bit errors, broken senders and attackers do to good bytes; the same for the same source."""

from __future__ import annotations

import random
from collections.abc import Sequence

from support.samples import flip

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, others: Sequence[bytes], drawn: random.Random) -> bytes:
    """``data`` after one to four of: a bit flipped, bytes lost, inserted or repeated, a number
    that may be a length made another, the end of one of ``others`` put on."""
    for _ in range(drawn.choice((1, 1, 1, 2, 4))):
        data = drawn.choice(_WAYS)(data, others, drawn)
    return data


def _flip(data: bytes, _others: Sequence[bytes], drawn: random.Random) -> bytes:
    return flip(data, drawn.randrange(8 * len(data))) if data else b"\x80"


def _cut(data: bytes, _others: Sequence[bytes], drawn: random.Random) -> bytes:
    return data[: drawn.randrange(len(data) + 1)]


def _lose(data: bytes, _others: Sequence[bytes], drawn: random.Random) -> bytes:
    start, end = _range(data, drawn)
    return data[:start] + data[end:]


def _repeat(data: bytes, _others: Sequence[bytes], drawn: random.Random) -> bytes:
    start, end = _range(data, drawn)
    return data[:end] + data[start:]


def _insert(data: bytes, _others: Sequence[bytes], drawn: random.Random) -> bytes:
    at = drawn.randrange(len(data) + 1)
    return data[:at] + drawn.randbytes(drawn.randint(1, 8)) + data[at:]


def _renumber(data: bytes, _others: Sequence[bytes], drawn: random.Random) -> bytes:
    """Another number of one, two or four bytes: near the old one, or extreme."""
    size = drawn.choice((1, 2, 4))
    if len(data) < size:
        return data
    at = drawn.randrange(len(data) - size + 1)
    old = int.from_bytes(data[at : at + size], "big")
    new = old + drawn.randint(-3, 3) if drawn.random() < 0.5 else drawn.choice(_EXTREMES)
    return data[:at] + (new % (1 << 8 * size)).to_bytes(size, "big") + data[at + size :]


def _splice(data: bytes, others: Sequence[bytes], drawn: random.Random) -> bytes:
    other = drawn.choice(others) if others else data
    return data[: drawn.randrange(len(data) + 1)] + other[drawn.randrange(len(other) + 1) :]


def _range(data: bytes, drawn: random.Random) -> tuple[int, int]:
    one, other = drawn.randrange(len(data) + 1), drawn.randrange(len(data) + 1)
    return min(one, other), max(one, other)


_WAYS = (_flip, _cut, _lose, _repeat, _insert, _renumber, _splice)
