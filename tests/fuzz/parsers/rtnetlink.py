"""Any bytes are messages, and attributes within them, that end; what they hold is a part of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from meshnet.linux.rtnetlink import attribute, attributes, messages, text, u32

COVERS = ("meshnet.linux.rtnetlink:messages", "meshnet.linux.rtnetlink:attributes")

_MESSAGE = struct.Struct("=IHHII")


def check(data: bytes) -> None:
    total = 0
    for _kind, body in messages(data):
        total += _MESSAGE.size + len(body)
        _attributes(body)
    assert total <= len(data)
    _attributes(data)


def _attributes(data: bytes) -> None:
    found = list(attributes(data))
    assert sum(4 + len(value) for _, value in found) <= len(data)
    if b"".join(attribute(kind, value) for kind, value in found) != data:
        return
    assert all(kind < 0x4000 for kind, _ in found)


def _message(kind: int, body: bytes) -> bytes:
    size = _MESSAGE.size + len(body)
    return _MESSAGE.pack(size, kind, 0, 1, 0) + body + bytes(-size % 4)


def seeds() -> Iterator[bytes]:
    name, nested = attribute(3, text("mesh0")), attribute(18, attribute(1, text("bridge")))
    body = name + attribute(4, u32(1376)) + nested
    yield body
    yield body[:-1]
    yield attribute(0x8000 | 3, b"nested")
    yield b"\3\0\1\0" + body
    for said in (_message(16, body), _message(3, b""), _message(2, bytes(4))):
        yield said
        yield said * 3
        yield said[:-1]
    yield _MESSAGE.pack(0, 16, 0, 1, 0) * 2
    yield _MESSAGE.pack(15, 16, 0, 1, 0) + bytes(8)
    yield _MESSAGE.pack(2**32 - 1, 16, 0, 1, 0) + bytes(8)
    yield b"short"
