"""What a sealed record on a link says (wire.md section 3.4): one type byte and a body."""

from __future__ import annotations

import enum

from meshnet.wire.cursor import MalformedError

TOKEN_BYTES = 8


class MessageType(enum.IntEnum):
    PING = 1
    """Answer with PONG and the same 8-byte token; keeps the link alive and measures it."""
    PONG = 2
    DELTA = 3
    """A fragment's new head and what has changed (section 6.3), as all below but RELAYED."""
    RELAYED = 4
    """The relay header, and a handshake datagram for another peer (section 3.5)."""
    DIGEST = 5
    WANT = 6
    NODES = 7
    HAVE = 8
    FEED = 9
    UNNEEDED = 10
    """The sender does not need this link; who does not need it either closes it (section 3.7)."""
    REMOVAL = 11
    """A fragment that shall be let go, and who says so (section 6.7)."""


GOSSIP_MESSAGES = frozenset(
    (
        MessageType.DELTA,
        MessageType.DIGEST,
        MessageType.WANT,
        MessageType.NODES,
        MessageType.HAVE,
        MessageType.FEED,
        MessageType.REMOVAL,
    )
)


def pack_message(message_type: MessageType, body: bytes) -> bytes:
    return bytes((message_type,)) + body


def parse_message(plaintext: bytes) -> tuple[MessageType | None, bytes]:
    """(type, body); the type is None for one we do not know, which is to be skipped.

    Raises MalformedError for what no version would send.
    """
    if not plaintext:
        raise MalformedError("empty message")
    body = plaintext[1:]
    try:
        message_type = MessageType(plaintext[0])
    except ValueError:
        return None, body
    if message_type in (MessageType.PING, MessageType.PONG) and len(body) != TOKEN_BYTES:
        raise MalformedError(f"{message_type.name} with a token of {len(body)} bytes")
    return message_type, body
