"""Messages on a link: unknown types are skipped, impossible ones are malformed."""

from __future__ import annotations

import pytest

from meshnet.wire.cursor import MalformedError
from meshnet.wire.messages import TOKEN_BYTES, MessageType, pack_message, parse_message

TOKEN = bytes(range(TOKEN_BYTES))


@pytest.mark.parametrize("kind", MessageType)
def test_a_message_is_read_as_packed(kind: MessageType) -> None:
    assert parse_message(pack_message(kind, TOKEN)) == (kind, TOKEN)


def test_a_type_of_a_later_version_is_skipped() -> None:
    assert parse_message(b"\xc8anything") == (None, b"anything")


@pytest.mark.parametrize("kind", [MessageType.PING, MessageType.PONG])
@pytest.mark.parametrize("size", [0, TOKEN_BYTES - 1, TOKEN_BYTES + 1])
def test_a_ping_has_a_token_of_fixed_size(kind: MessageType, size: int) -> None:
    with pytest.raises(MalformedError):
        parse_message(pack_message(kind, bytes(size)))


def test_an_empty_message_is_malformed() -> None:
    with pytest.raises(MalformedError):
        parse_message(b"")
