"""The process that is the wires of a lab's hosts: ``python -m meshnet.lab.wire_process``.

    host: eth0 (TAP) -- this process -- port1 (TAP, in the hub's bridge)

It runs in the hub's namespace, makes both ends of each wire there, says so by a line on stdout, and
lives until it is killed; the lab moves each ``far`` end into its host. Both ends go with the
process. A TAP does no offloads, so what passes are packets as a real wire has them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import sys
import time
from collections.abc import Sequence
from random import Random

from attrs import define

from meshnet.lab.cuts import port_name
from meshnet.lab.impairments import Impairments
from meshnet.lab.wire import Wire

READY = b"ready\n"

_TUN = "/dev/net/tun"
# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_IFREQ = struct.Struct("16sH22x")
_MAX_FRAME_BYTES = 65536 + 14
# From one device at a time, so that a busy host does not keep the others waiting.
_BURST = 32


def far_name(number: int) -> str:
    """The device at the far end of the wire of host ``number``, until it is moved to the host."""
    return f"far{number}"


def arguments(count: int, impairments: Impairments) -> list[str]:
    """What this module's command line says to make ``count`` wires."""
    numbers = (impairments.delay_s, impairments.jitter_s, impairments.rate_bits_per_s)
    return ["-m", "meshnet.lab.wire_process", str(count), *map(str, numbers)]


@define(frozen=True)
class _Direction:
    """From one device through a wire to another."""

    source: int
    wire: Wire
    target: int


def main() -> None:
    """Make the wires, and be them."""
    count, delay_s, jitter_s, rate = int(sys.argv[1]), *map(float, sys.argv[2:5])
    # The delay lies on the way to the hub alone: from host to host it is passed once.
    to_hub = Impairments(delay_s=delay_s, jitter_s=jitter_s, rate_bits_per_s=rate)
    to_host = Impairments(rate_bits_per_s=rate)
    rng = Random()
    directions: list[_Direction] = []
    for number in range(1, count + 1):
        port, far = _tap(port_name(number)), _tap(far_name(number))
        directions.append(_Direction(far, Wire(to_hub, rng), port))
        directions.append(_Direction(port, Wire(to_host, rng), far))
    os.write(sys.stdout.fileno(), READY)
    _carry(directions)


def _carry(directions: Sequence[_Direction]) -> None:
    by_source = {direction.source: direction for direction in directions}
    while by_source:
        times = (direction.wire.next_arrival for direction in directions)
        next_arrival = min((at for at in times if at is not None), default=None)
        wait_s = None if next_arrival is None else max(0.0, next_arrival - time.monotonic())
        # Not epoll, which waits for whole milliseconds.
        for source in select.select(list(by_source), (), (), wait_s)[0]:
            try:
                _receive(by_source[source])
            except OSError:
                del by_source[source]  # The device went with its namespace.
        now = time.monotonic()
        for direction in directions:
            for frame in direction.wire.arrived(now):
                # A device that is down, or gone, receives nothing.
                with contextlib.suppress(OSError):
                    os.write(direction.target, frame)


def _receive(direction: _Direction) -> None:
    """Put what waits at the source on the wire. Raises OSError when the device is gone."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(_BURST):
            frame = os.read(direction.source, _MAX_FRAME_BYTES)
            direction.wire.put(frame, time.monotonic())


def _tap(name: str) -> int:
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode("ascii"), _IFF_TAP_NO_PI))
    return descriptor


if __name__ == "__main__":
    main()
