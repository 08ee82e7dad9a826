"""The addresses with which frames may be exchanged in clear, if the other end agrees."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from meshnet.ids import Endpoint, Remote

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_subnet(text: str) -> Subnet:
    """A subnet in CIDR form. Raises ValueError with what is wrong."""
    if "/" not in text:
        raise ValueError("the prefix length is missing")
    return ipaddress.ip_network(text)


class TrustedSubnets:
    """Our half of the agreement (wire.md section 5.7)."""

    def __init__(self, subnets: Iterable[Subnet] = ()) -> None:
        self._subnets = tuple(subnets)

    def __contains__(self, remote: Remote) -> bool:
        """Whether datagrams to ``remote`` stay within; never those that go through others."""
        if not isinstance(remote, Endpoint) or not self._subnets:
            return False
        address = ipaddress.ip_address(remote.host)
        return any(address in subnet for subnet in self._subnets)
