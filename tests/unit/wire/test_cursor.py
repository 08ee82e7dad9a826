"""The cursor checks every read, and texts print safely."""

from __future__ import annotations

import pytest

from meshnet.wire.cursor import Cursor, MalformedError, pack_text


def test_integers_are_big_endian() -> None:
    cursor = Cursor(bytes(range(1, 16)))
    assert cursor.read_u8() == 0x01
    assert cursor.read_u16() == 0x0203
    assert cursor.read_u32() == 0x04050607
    assert cursor.read_u64() == 0x08090A0B0C0D0E0F
    cursor.finish()


def test_a_read_past_the_end_is_malformed_and_moves_nothing() -> None:
    cursor = Cursor(b"ab")
    with pytest.raises(MalformedError, match="3 bytes wanted, 2 left"):
        cursor.read_bytes(3)
    assert cursor.read_rest() == b"ab"
    assert cursor.read_rest() == b""


def test_leftovers_are_refused_where_none_are_allowed() -> None:
    cursor = Cursor(b"ab")
    cursor.read_u8()
    with pytest.raises(MalformedError, match="1 bytes too many"):
        cursor.finish()


@pytest.mark.parametrize("text", ["", "a", "Käthe's laptop", "\u4e16\u754c"])
def test_texts_are_read_as_packed(text: str) -> None:
    cursor = Cursor(pack_text(text, 64))
    assert cursor.read_text(64) == text
    cursor.finish()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x02a",
        b"\x05abcde",
        b"\x01\xff",
        b"\x01\n",
        b"\x04\x1b[2J",
        b"\x02\xc2\x85",
        "\u202e".encode().join((b"\x03", b"")),
    ],
    ids=["none", "cut", "long", "not utf-8", "newline", "escape", "c1 control", "bidi override"],
)
def test_texts_that_could_do_harm_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        Cursor(raw).read_text(4)


@pytest.mark.parametrize("text", ["a" * 5, "\u4e16\u754c", "a\nb", "\x7f"])
def test_what_would_not_be_read_back_is_not_packed(text: str) -> None:
    with pytest.raises(ValueError):
        pack_text(text, 4)


def test_no_text_is_longer_than_its_length_byte_can_say() -> None:
    with pytest.raises(ValueError):
        pack_text("a" * 256, 1000)
