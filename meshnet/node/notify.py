"""Tells the service manager how the node is: systemd's notification protocol, sd_notify(3).

One datagram of lines to the socket in NOTIFY_SOCKET; nothing where there is none. Whether anybody
listens is not the node's concern, so nothing here raises.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

READY = "READY=1"
STOPPING = "STOPPING=1"


def reloading() -> str:
    """What to say before a reload; say `READY` after it. (systemd wants to know when it began.)"""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def notify(state: str) -> None:
    """Send ``state``: one of the above, or any lines of the protocol."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    # A socket that begins with @ has no place in the file system (unix(7): abstract).
    address = "\0" + path[1:] if path.startswith("@") else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.setblocking(False)
        sender.sendto(state.encode(), address)
