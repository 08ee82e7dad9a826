"""The in-memory twin of a TAP device."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

from meshnet.errors import TapError

_MAX_FRAME_BYTES = 65536


class MemoryPort:
    """A `FramePort` without a kernel device: ``send`` and ``receive`` are the host's side of it.

    Made of a socket pair, so it polls, holds back and drops as a device does when nobody reads.
    """

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._node, self._host = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._node.setblocking(False)
        self._host.setblocking(False)

    def send(self, frame: bytes) -> None:
        """The host sends a frame. Raises BlockingIOError when the mesh does not keep up."""
        if not frame:
            raise ValueError("a frame has at least its header")
        self._host.send(frame)

    async def receive(self, *, timeout_s: float = 5.0) -> bytes:
        """The next frame that reaches the host. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._host, _MAX_FRAME_BYTES)

    def fileno(self) -> int:
        return self._node.fileno()

    def read_frames(self, limit: int) -> list[bytes]:
        frames: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while len(frames) < limit:
                if not (frame := self._node.recv(_MAX_FRAME_BYTES)):
                    raise TapError(f"{self.name}: the host's side is closed")
                frames.append(frame)
        return frames

    def write_frames(self, frames: Iterable[bytes]) -> int:
        refused = 0
        for frame in frames:
            try:
                self._node.send(frame)
            except OSError:
                refused += 1
        return refused

    def close_host(self) -> None:
        """The host's side goes away, as a device does that somebody deletes."""
        self._host.close()

    def close(self) -> None:
        self._node.close()
        self._host.close()
