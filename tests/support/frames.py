"""Frames as the other end of a memory port gets them."""

from __future__ import annotations

from meshnet.testing import MemoryPort

_RARP = b"\x80\x35"


async def receive_data(port: MemoryPort) -> bytes:
    """The next frame that is no notice of where a MAC address is now."""
    while (frame := await port.receive())[12:14] == _RARP:
        pass
    return frame
