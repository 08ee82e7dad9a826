"""The NAT gateway of a lab's host: addresses, rules, and how it is made to forget.

    host: eth0 192.168.N.2 -- gateway: inside 192.168.N.1, eth0 192.0.2.N -- hub

As the ones people have at home: who is behind it reaches out, and only answers come back. Whoever
was not called gets no answer, not even a refusal.
"""

from __future__ import annotations

import os
import socket
import struct

# Behind the gateway of host N, 192.168.N.0/24.
_INSIDE = "192.168.{}.{}"
INSIDE_BITS = 24

# Where a mapping's outer port is taken from after a rebinding: another place than before.
_FIRST_PORT = 20_000
_PORTS_A_TIME = 1_000
_PLACES = 40

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h
_NETLINK_NETFILTER = 12
_CONNTRACK_DELETE = 1 << 8 | 2
_REQUEST_AND_ACKNOWLEDGE = 0x1 | 0x4
_HEADER = struct.Struct("=IHHII")
_NFGENMSG = bytes(4)
_ERROR_AT = _HEADER.size


def inside_ipv4(number: int) -> str:
    """The address of host ``number`` behind its gateway."""
    return _INSIDE.format(number, 2)


def gateway_ipv4(number: int) -> str:
    """The address of the gateway of host ``number``, as the host sees it."""
    return _INSIDE.format(number, 1)


def gateway_rules(rebound: int) -> str:
    """Lines for ``nft -f``: the one table of a gateway that was made to forget ``rebound`` times.

    At first it keeps the ports of the host where it can. Once it has forgotten, a mapping gets
    another port than it had.
    """
    ports = ""
    if rebound:
        first = _FIRST_PORT + (rebound - 1) % _PLACES * _PORTS_A_TIME
        ports = f" to :{first}-{first + _PORTS_A_TIME - 1}"
    return f"""\
table ip lab
delete table ip lab
table ip lab {{
chain translate {{
type nat hook postrouting priority srcnat;
oifname eth0 meta l4proto {{ tcp, udp }} masquerade{ports}
oifname eth0 masquerade
}}
chain to_gateway {{
type filter hook input priority filter;
iifname eth0 ct state != {{ established, related }} drop
}}
chain to_host {{
type filter hook forward priority filter;
iifname eth0 ct state != {{ established, related }} drop
}}
}}
"""


def forget_mappings() -> None:
    """Delete every connection that the NAT of this namespace tracks. Raises OSError."""
    body = _HEADER.pack(
        _HEADER.size + len(_NFGENMSG), _CONNTRACK_DELETE, _REQUEST_AND_ACKNOWLEDGE, 1, 0
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.send(body + _NFGENMSG)
        [error] = struct.unpack_from("=i", netlink.recv(4096), _ERROR_AT)
    if error:
        raise OSError(-error, os.strerror(-error))


if __name__ == "__main__":
    forget_mappings()  # Run by the lab in the gateway's namespace.
