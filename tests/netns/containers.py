"""Containers as their runtimes make them: a namespace with a port of the host's bridge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from meshnet.lab.hosts import Namespace
from netns.tools import devices, wait_until

BRIDGE = "meshbr0"
OVERLAY_MTU = 1376


class Container:
    """A namespace with one interface, a port of a bridge of its host.

    With a ``mac`` it is a quiet one: without IPv6, so it says nothing before it is made to.
    """

    def __init__(
        self, host: Namespace, number: int, bridge: str = BRIDGE, mac: str | None = None
    ) -> None:
        self.namespace = Namespace()
        self.ipv4, self.ipv6 = f"10.32.0.{number}", f"fd32::{number}"
        self.port = f"veth{number}"
        host.ip(
            f"link add {self.port} mtu {OVERLAY_MTU} type veth "
            f"peer name eth0 mtu {OVERLAY_MTU} netns {self.namespace.pid}",
            f"link set {self.port} master {bridge} up",
        )
        if mac is not None:
            self.namespace.ip(
                f"link set eth0 address {mac} addrgenmode none",
                f"addr add {self.ipv4}/24 dev eth0",
                "link set eth0 up",
            )
            return
        self.namespace.ip(
            f"addr add {self.ipv4}/24 dev eth0",
            f"addr add {self.ipv6}/64 dev eth0 nodad",
            "link set eth0 up",
        )


@contextlib.contextmanager
def container(
    host: Namespace, number: int, bridge: str = BRIDGE, mac: str | None = None
) -> Iterator[Container]:
    """``number`` has to be its own in a mesh: others remember the MAC address of an earlier one."""
    made = Container(host, number, bridge, mac)
    try:
        yield made
    finally:
        made.namespace.close()
        # The veth ends with its namespace, but not at once.
        wait_until(lambda: made.port not in devices(host), 10, "the end of a container's port")
