"""A TAP device as a `FramePort`, by python-pytun.

The device is not persistent: the kernel removes it with the last descriptor, so nothing is left
behind after kill -9 either.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytun

from meshnet.errors import TapError
from meshnet.ids import PeerName, mac_of

# Our choice: longer than any frame the kernel gives us at the largest overlay MTU.
_READ_BYTES = 65536
_TUN = Path("/dev/net/tun")
# Linux: IFNAMSIZ, less the final zero.
_MAX_NAME_BYTES = 15


class Tap:
    """An open TAP device that is up, with a MAC address of the peer's own."""

    def __init__(self, name: str, peer: PeerName, overlay_mtu: int) -> None:
        """Raises TapError with one line that says what to do."""
        if not 0 < len(name.encode()) <= _MAX_NAME_BYTES:
            raise TapError(f"TAP name {name!r}: use 1 to {_MAX_NAME_BYTES} bytes (--tap)")
        self._device = _open(name)
        self._name = name
        try:
            self._device.hwaddr = mac_of(peer)
            self._device.mtu = overlay_mtu
            self._device.up()
        except pytun.Error as error:
            self._device.close()
            raise TapError(f"cannot set up TAP {name}: {_reason(error)}") from error
        os.set_blocking(self._device.fileno(), False)
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    def fileno(self) -> int:
        return int(self._device.fileno())

    def read_frames(self, limit: int) -> list[bytes]:
        frames: list[bytes] = []
        descriptor = self._device.fileno()
        for _ in range(limit):
            try:
                frames.append(os.read(descriptor, _READ_BYTES))
            except BlockingIOError:
                break  # None waits, or the device is down: frames come when it is up again.
            except OSError as error:
                if error.errno == errno.EBADFD:
                    gone = f"TAP {self._name} was deleted by somebody else; start the node again"
                    raise TapError(gone) from error
                break
        return frames

    def write_frames(self, frames: Iterable[bytes]) -> int:
        refused = 0
        descriptor = self._device.fileno()
        for frame in frames:
            try:
                os.write(descriptor, frame)
            except OSError:
                refused += 1  # Full, or the device is down.
        return refused

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._device.close()


def _open(name: str) -> pytun.TunTapDevice:
    # IFF_TUN_EXCL: never take over a device that somebody else has made.
    flags = pytun.IFF_TAP | pytun.IFF_NO_PI | pytun.IFF_TUN_EXCL
    if not _TUN.exists():
        raise TapError(f"no {_TUN}: load the tun module (modprobe tun), or run with --no-tap")
    try:
        return pytun.TunTapDevice(name=name, flags=flags)
    except pytun.Error as error:
        advice = {
            errno.EPERM: "no permission: run as root (CAP_NET_ADMIN), or with --no-tap",
            errno.EACCES: f"no permission for {_TUN}: run as root, or with --no-tap",
            errno.EBUSY: "the interface exists: choose another name with --tap",
            errno.EINVAL: "the interface exists or the name is not allowed: choose another (--tap)",
            errno.ENODEV: "the kernel has no TUN/TAP: modprobe tun, or run with --no-tap",
        }.get(error.args[0], _reason(error))
        raise TapError(f"cannot open TAP {name}: {advice}") from error


def _reason(error: pytun.Error) -> str:
    return str(error.args[-1])
