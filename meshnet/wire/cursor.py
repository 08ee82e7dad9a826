"""One small cursor for all parsing: every read checks what is left.

All integers on the wire are big-endian. A shortage, or leftovers where none are allowed, is
`MalformedError`; each caller turns it into its own policy (drop, ignore, or close the link).
"""

from __future__ import annotations

# From wire.md section 1: C0, DEL and C1; line and paragraph separators; bidirectional controls.
_CONTROLS = frozenset(
    chr(number)
    for start, end in ((0x00, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069))
    for number in range(start, end + 1)
)


class MalformedError(ValueError):
    """The bytes do not have the shape the specification gives them."""


class Cursor:
    """Reads fields off the front of ``data``."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes nobody has read yet."""
        return len(self._data) - self._at

    def read_bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise MalformedError(f"{count} bytes wanted, {len(self._data) - self._at} left")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def read_uint(self, size_bytes: int) -> int:
        return int.from_bytes(self.read_bytes(size_bytes), "big")

    def read_u8(self) -> int:
        at = self._at
        if at >= len(self._data):
            raise MalformedError("1 bytes wanted, 0 left")
        self._at = at + 1
        return self._data[at]

    def read_u16(self) -> int:
        return self.read_uint(2)

    def read_u32(self) -> int:
        return self.read_uint(4)

    def read_u64(self) -> int:
        return self.read_uint(8)

    def read_sized(self, max_bytes: int, what: str) -> bytes:
        """A u16 length and that many bytes, at most ``max_bytes``.

        In one step: a join reads a hundred thousand of them.
        """
        data, start = self._data, self._at + 2
        if start > len(data):
            raise MalformedError(f"2 bytes wanted, {self.left} left")
        size = data[start - 2] << 8 | data[start - 1]
        if size > max_bytes:
            raise MalformedError(f"{what} of {size} bytes")
        end = start + size
        if end > len(data):
            raise MalformedError(f"{size} bytes wanted, {len(data) - start} left")
        self._at = end
        return data[start:end]

    def read_text(self, max_bytes: int) -> str:
        """A u8 length and that many bytes of UTF-8, at most ``max_bytes``, see `is_clean`."""
        size = self.read_u8()
        if size > max_bytes:
            raise MalformedError(f"text of {size} bytes, at most {max_bytes} allowed")
        try:
            text = self.read_bytes(size).decode()
        except UnicodeDecodeError:
            raise MalformedError("text is not UTF-8") from None
        if not is_clean(text):
            raise MalformedError("text holds control characters")
        return text

    def read_rest(self) -> bytes:
        return self.read_bytes(len(self._data) - self._at)

    def finish(self) -> None:
        """Refuse leftovers: what nobody reads, nobody checked."""
        if self._at != len(self._data):
            raise MalformedError(f"{len(self._data) - self._at} bytes too many")


def is_clean(text: str) -> bool:
    """True when ``text`` has no control characters: texts from the wire reach terminals and logs.

    A list of our own, not `str.isprintable`: that changes with Python's version of Unicode, and
    whether content is valid must not differ between peers.
    """
    return _CONTROLS.isdisjoint(text)


def pack_text(text: str, max_bytes: int) -> bytes:
    """The form `Cursor.read_text` reads; raises ValueError when it would not read it back.

    TypeError for what is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text: give a str")
    raw = text.encode()
    if len(raw) > min(max_bytes, 255) or not is_clean(text):
        raise ValueError(f"{text!r}: at most {max_bytes} bytes of text without control characters")
    return bytes((len(raw),)) + raw
