"""What hypothesis draws for more than one property."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from hypothesis import strategies as st

from meshnet.ids import Endpoint
from meshnet.wire.ciphers import CipherId
from meshnet.wire.cursor import is_clean
from support.link_pair import Cut

PORTS = st.integers(1, 65535)
CIPHER_LISTS = st.lists(st.sampled_from(CipherId), unique=True).map(tuple)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


def _is_a_peers(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    broadcast = ipaddress.IPv4Address("255.255.255.255")
    return not (address.is_multicast or address.is_unspecified or address == broadcast)


ENDPOINTS = st.builds(
    lambda address, port: Endpoint.of(str(address), port),
    st.ip_addresses().filter(_is_a_peers),
    PORTS,
).filter(lambda endpoint: _is_a_peers(ipaddress.ip_address(endpoint.host)))

NICKNAMES = st.text(st.characters(codec="utf-8"), max_size=64).filter(
    lambda text: is_clean(text) and len(text.encode()) <= 64
)


def _cutter(sizes: list[int]) -> Cut:
    def cut(data: bytes) -> Iterable[bytes]:
        at = 0
        while at < len(data):
            size = sizes[at % len(sizes)]
            yield data[at : at + size]
            at += size

    return cut


CUTS: st.SearchStrategy[Callable[[bytes], Iterable[bytes]]] = st.lists(
    st.integers(1, 80), min_size=1, max_size=30
).map(_cutter)
