"""Any record is a message that packs to the same bytes, one to skip, or MalformedError."""

from __future__ import annotations

from collections.abc import Iterator

from meshnet.wire.cursor import MalformedError
from meshnet.wire.messages import TOKEN_BYTES, MessageType, pack_message, parse_message

COVERS = ("meshnet.wire.messages",)


def check(data: bytes) -> None:
    try:
        kind, body = parse_message(data)
    except MalformedError:
        return
    if kind is None:
        assert data[0] not in list(MessageType)
        assert body == data[1:]
    else:
        assert pack_message(kind, body) == data


def seeds() -> Iterator[bytes]:
    yield from (bytes((kind,)) + bytes(TOKEN_BYTES) for kind in range(9))
    yield from (pack_message(kind, b"") for kind in MessageType)
    yield b""
