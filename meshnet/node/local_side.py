"""The local side of a node: its TAP, the bridge that the TAP may be a port of, its addresses."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import NoReturn

from meshnet.aio.mesh import Mesh
from meshnet.errors import TapError
from meshnet.ids import PeerName
from meshnet.linux.addresses import Address, add_address, host_addresses
from meshnet.linux.bridge import Bridge
from meshnet.linux.links import Link, link_named, refuse_router_advertisements
from meshnet.node.options import NodeConfig
from meshnet.node.poll import poll
from meshnet.ports import FramePort

_log = logging.getLogger("meshnet")


class LocalSide:
    """The host's own connection to the overlay. ``interface`` is the one with the addresses."""

    def __init__(self, port: FramePort, interface: str) -> None:
        self.port = port
        self.interface = interface

    async def follow_addresses(self, mesh: Mesh) -> NoReturn:
        """Let the mesh announce the host's addresses on the overlay, as they come and go.

        Raises TapError when the interface is gone: the host has no connection then.
        """
        async for link, addresses in poll(self._read):
            if link is None:
                what = "TAP" if self.interface == self.port.name else "bridge"
                raise TapError(
                    f"{what} {self.interface} was deleted by somebody else; start the node again"
                )
            router = _forwards_ipv6(self.interface)
            mesh.set_own_addresses(link.mac, addresses, router=router, interface=self.interface)
        raise AssertionError("a poll never ends")

    def _read(self) -> tuple[Link | None, list[Address]]:
        link = link_named(self.interface)
        return link, [a.address for a in host_addresses() if a.interface == self.interface]


def open_local_side(
    config: NodeConfig, peer: PeerName, stack: contextlib.ExitStack | contextlib.AsyncExitStack
) -> LocalSide | None:
    """Set it up as configured; ``stack`` gives it back. None without a TAP. Raises TapError."""
    if config.tap is None:
        return None
    # Imported here: a node without a device needs no TAP support.
    from meshnet.tap.device import Tap

    port = Tap(config.tap, peer, config.mesh.mtu)
    stack.callback(port.close)
    interface, is_ours = port.name, True
    if config.bridge is not None:
        bridge = Bridge(
            config.bridge,
            tap=port.name,
            peer=peer,
            overlay_mtu=config.mesh.mtu,
            addresses=config.addresses,
        )
        stack.callback(bridge.close)
        interface, is_ours = bridge.name, bridge.is_ours
    # Any host or container of the overlay could else become our default router (CVE-2020-11091).
    if is_ours and not refuse_router_advertisements(interface):
        _log.warning("router advertisements are not refused", extra={"device": interface})
    for address in config.addresses:
        add_address(interface, address)
    return LocalSide(port, interface)


def _forwards_ipv6(interface: str) -> bool:
    try:
        switch = Path(f"/proc/sys/net/ipv6/conf/{interface}/forwarding")
        return switch.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False  # IPv6 is off, or the device has gone.
