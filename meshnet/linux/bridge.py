"""The Linux bridge that the node's TAP is a port of, next to containers' veths.

A bridge that the node makes bears the alias ``meshnet:<peer>`` (`ip -details link`), so that it is
known for a node's own after kill -9 too. It is removed at the end; its other ports stay, as devices
of those who made them. A bridge without that alias is somebody else's: the node joins it, changes
nothing of it, and takes back what it put on it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable

from meshnet.errors import TapError
from meshnet.ids import PeerName, mac_of
from meshnet.linux.addresses import Interface, host_addresses, remove_our_addresses
from meshnet.linux.links import (
    Link,
    all_links,
    delete_link,
    link_named,
    make_bridge,
    make_no_ipv6_address,
    set_link,
)

_ALIAS_PREFIX = "meshnet:"


class Bridge:
    """A bridge with ``tap`` as one of its ports, until it is closed."""

    def __init__(
        self,
        name: str,
        *,
        tap: str,
        peer: PeerName,
        overlay_mtu: int,
        addresses: Iterable[Interface],
    ) -> None:
        """Make or find the bridge and join it. Raises TapError with one line that says what to do.

        ``addresses`` are those that the node is about to give to it.
        """
        self._name = name
        self._alias = _ALIAS_PREFIX + str(peer)
        self._addresses = tuple(addresses)
        self._index = 0
        self._closed = False
        self.is_ours = False
        try:
            found = link_named(name)
            if found is not None:
                _check(found)
            self.is_ours = found is None or found.alias.startswith(_ALIAS_PREFIX)
            if found is None:
                # One byte off, since only an MTU that is changed stays when ports come and go.
                make_bridge(name, mac_of(peer), overlay_mtu + 1)
            bridge = self._own(peer, overlay_mtu) if self.is_ours else found
            assert bridge is not None, "it was found, or has been made"
            self._join(bridge, tap)
        except OSError as error:
            self.close()
            reason = {
                errno.EPERM: "no permission: run as root (CAP_NET_ADMIN)",
                errno.EOPNOTSUPP: "the kernel has no bridges: modprobe bridge, or no --bridge",
            }.get(error.errno or 0, str(error.strerror))
            raise TapError(f"cannot set up bridge {name}: {reason}") from error

    @property
    def name(self) -> str:
        return self._name

    def close(self) -> None:
        """Give back what is ours. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            bridge = link_named(self._name)
            if bridge is None:
                return
            if not self.is_ours:
                remove_our_addresses(self._name, only=self._addresses)
            elif bridge.alias == self._alias or bridge.index == self._index:
                delete_link(bridge.index)  # By now the name could be of somebody else's bridge.

    def _own(self, peer: PeerName, overlay_mtu: int) -> Link:
        """Bring a bridge of our making, just now or in an earlier life, to what it should be."""
        bridge = link_named(self._name)
        if bridge is None:
            raise OSError(errno.ENODEV, "somebody has deleted it")
        self._index = bridge.index
        set_link(bridge.index, alias=self._alias)
        set_link(bridge.index, mac=mac_of(peer), mtu=overlay_mtu, up=True)
        remove_our_addresses(self._name, keep=self._addresses)
        return bridge

    def _join(self, bridge: Link, tap: str) -> None:
        port = link_named(tap)
        if port is None:
            raise OSError(errno.ENODEV, f"TAP {tap} is gone")
        # A port has no addresses: with the bridge's MAC it would even have the bridge's own.
        set_link(port.index, up=False)
        make_no_ipv6_address(port.index)
        set_link(port.index, master=bridge.index, alias=self._alias)
        set_link(port.index, up=True)


def remove_leftovers(peer: PeerName) -> list[str]:
    """Take back what a node of ``peer`` that was killed has left; the devices concerned.

    Call it while no node of that peer runs. Raises OSError.
    """
    links, removed = all_links(), []
    for bridge in (link for link in links if link.kind == "bridge"):
        if bridge.alias == _ALIAS_PREFIX + str(peer):
            delete_link(bridge.index)
            removed.append(bridge.name)
        elif (
            not bridge.alias.startswith(_ALIAS_PREFIX)
            and not _has_node(bridge, links)
            and any(a.ours and a.interface == bridge.name for a in host_addresses())
        ):
            # Somebody else's, without a node: the marked addresses on it are of one that is dead.
            remove_our_addresses(bridge.name)
            removed.append(bridge.name)
    return removed


def _has_node(bridge: Link, links: Iterable[Link]) -> bool:
    """A TAP ends with its node, so who has one as a port has a node that is alive."""
    return any(p.master == bridge.index and p.alias.startswith(_ALIAS_PREFIX) for p in links)


def _check(found: Link) -> None:
    if found.kind != "bridge":
        raise TapError(f"{found.name} is not a bridge: choose another name with --bridge")
    # A TAP ends with its node, so this one's node is alive. Two on one bridge are a loop.
    for port in all_links():
        if port.master == found.index and port.alias.startswith(_ALIAS_PREFIX):
            raise TapError(
                f"bridge {found.name} has the TAP {port.name} of another node that is running: "
                "stop that one, or choose another name with --bridge"
            )
